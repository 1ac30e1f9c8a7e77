-- One statement to a line, on the table t of `differential.rs`: most are refused, and the SQLSTATE must be PostgreSQL's.
SELEC 1
SELECT 1 +
SELECT (1
SELECT * FROM
SELECT * FROM absent
SELECT absent FROM t
SELECT t.absent FROM t
SELECT u.id FROM t
SELECT id FROM t AS a, t AS b
SELECT * FROM t AS a, t AS a
SELECT absent(1)
SELECT length(1, 2)
SELECT abs('x'::text)
SELECT id + x FROM t
SELECT id = x FROM t
SELECT x AND TRUE FROM t
SELECT NOT id FROM t
SELECT * FROM t WHERE id
SELECT * FROM t WHERE x
SELECT CASE WHEN id THEN 1 END FROM t
SELECT coalesce(id, x) FROM t
SELECT 1 / 0
SELECT 1 % 0
SELECT 1.0 / 0
SELECT id / (id - 1) FROM t
SELECT 2147483647 + 1
SELECT 2147483647::bigint + 1
SELECT 9223372036854775807 + 1
SELECT -9223372036854775807 - 2
SELECT 32767::smallint + 1::smallint
SELECT 70000::smallint
SELECT 3000000000::integer
SELECT 99999999999999999999::bigint
SELECT (1.5)::integer
SELECT (2.5)::integer
SELECT (-2.5)::integer
SELECT 'abc'::integer
SELECT ' 12 '::integer
SELECT ''::integer
SELECT '1.5'::integer
SELECT 'abc'::numeric
SELECT '1e3'::numeric
SELECT 'maybe'::boolean
SELECT 'yes'::boolean, 'off'::boolean, ' t '::boolean
SELECT 2::boolean
SELECT '2023-02-29'::date
SELECT '2024-02-29'::date
SELECT 'yesterday-ish'::date
SELECT '2024-13-01'::date
SELECT '25:00:00'::time
SELECT '2024-01-01 12:61:00'::timestamp
SELECT '{not json'::json
SELECT 'not a uuid'::uuid
SELECT '2024-01-01'::integer
SELECT TRUE::date
SELECT DATE '2024-01-31' + 1
SELECT DATE '2024-03-01' - DATE '2024-02-01'
SELECT id FROM t GROUP BY x
SELECT id, count(*) FROM t
SELECT count(*) FROM t WHERE count(*) > 1
SELECT sum(count(*)) FROM t
SELECT sum(x) FROM t
SELECT id FROM t HAVING id > 1
SELECT id FROM t ORDER BY 2
SELECT DISTINCT id FROM t ORDER BY x
SELECT id FROM t LIMIT -1
SELECT id FROM t OFFSET -1
SELECT id FROM t LIMIT 'x'
SELECT (SELECT id FROM t)
SELECT (SELECT id, x FROM t WHERE id = 1)
SELECT * FROM t WHERE id IN (SELECT id, x FROM t)
SELECT id FROM t UNION SELECT id, x FROM t
SELECT id FROM t UNION SELECT x FROM t
SELECT 1 UNION SELECT 'a'
SELECT 'ab' LIKE 'a\'
SELECT 'a' ~ '('
SELECT substr('abc', 1, -1)
SELECT chr(0)
SELECT sqrt(-1)
SELECT ln(0)
SELECT repeat('a', -1)
SELECT round(2.5), round(-2.5), round(0.125, 2)
SELECT 7 / 2, -7 / 2, 7 % -2, -7 % 2
SELECT 7.0 / 2, 1.0 / 3, 10 / 4.0
SELECT NULL = NULL, NULL <> 1, NULL AND FALSE, NULL OR TRUE, NOT NULL
SELECT 1 = ANY (ARRAY[1, 2]), 1 = ALL (ARRAY[]::integer[])
SELECT 'abc' < 'abd', 'B' < 'a', '' < 'a'
SELECT greatest(1, NULL, 3), least(NULL, NULL)
SELECT 'a' || NULL, concat('a', NULL, 1)
SELECT position('b' IN 'abc'), strpos('abc', 'z')
SELECT $1
INSERT INTO t (id) VALUES (1)
INSERT INTO t (id) VALUES (NULL)
INSERT INTO t (id, id) VALUES (3, 4)
INSERT INTO t (absent) VALUES (1)
INSERT INTO t (id, x) VALUES (3)
INSERT INTO t (id) VALUES (3, 4)
INSERT INTO t (id) VALUES ('x')
INSERT INTO t (id) VALUES (3000000000)
INSERT INTO t (id, s) VALUES (3, 70000)
INSERT INTO t (id, n) VALUES (3, 1234.5)
INSERT INTO t (id, v) VALUES (3, 'abcd')
INSERT INTO t (id, v) VALUES (3, 'abc   ') RETURNING v
INSERT INTO t (id, c) VALUES (4, 'abcd')
INSERT INTO t (id, d) VALUES (4, 'x')
INSERT INTO t (id, x) VALUES (4, 5) RETURNING x
INSERT INTO t (id, x) SELECT 5, d FROM t WHERE id = 1
INSERT INTO t (id, s) SELECT 6, 'x'
INSERT INTO t (id) VALUES (7), (7)
INSERT INTO t (id) VALUES (7), (7) ON CONFLICT (id) DO UPDATE SET x = 'twice'
INSERT INTO t (id) VALUES (1) ON CONFLICT (x) DO NOTHING
INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = NULL
INSERT INTO absent VALUES (1)
UPDATE t SET absent = 1
UPDATE t SET id = NULL WHERE id = 1
UPDATE t SET id = 2 WHERE id = 1
UPDATE t SET s = s * 10000 WHERE id = 1
UPDATE t SET v = 'abcd' WHERE id = 1
UPDATE t SET id = 1, id = 2
UPDATE t SET x = (SELECT x FROM t)
UPDATE absent SET x = 1
DELETE FROM t WHERE absent = 1
DELETE FROM absent
CREATE TABLE t (id integer)
CREATE TABLE u (id integer, id text)
CREATE TABLE u (id nosuchtype)
CREATE TABLE u (id integer PRIMARY KEY, PRIMARY KEY (id))
CREATE TABLE u (id integer, PRIMARY KEY (absent))
CREATE TABLE u (id integer REFERENCES absent (id))
CREATE TABLE u (id integer REFERENCES t (x))
CREATE TABLE u (id text REFERENCES t (id))
CREATE TABLE u (id integer DEFAULT 'x')
CREATE TABLE u (id integer CHECK (absent > 1))
CREATE TABLE u (id integer CHECK (id))
CREATE INDEX t_absent ON t (absent)
CREATE INDEX u_id ON u (id)
DROP TABLE absent
DROP INDEX absent
DROP TABLE IF EXISTS absent
ALTER TABLE t ADD COLUMN id integer
ALTER TABLE t DROP COLUMN absent
ALTER TABLE t RENAME COLUMN absent TO y
ALTER TABLE t RENAME COLUMN id TO x
ALTER TABLE t ADD COLUMN y integer NOT NULL
ALTER TABLE absent ADD COLUMN y integer
SELECT * FROM t ORDER BY id
CREATE TABLE child (id integer PRIMARY KEY, t_id integer REFERENCES t (id))
INSERT INTO child VALUES (1, 1)
INSERT INTO child VALUES (1, 99) ON CONFLICT DO NOTHING
INSERT INTO child VALUES (1, 99) ON CONFLICT (id) DO UPDATE SET t_id = 2
INSERT INTO child VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET t_id = 99
INSERT INTO child VALUES (2, 99) ON CONFLICT DO NOTHING
INSERT INTO child VALUES (1, 98), (3, 1) ON CONFLICT DO NOTHING RETURNING *
SELECT * FROM child ORDER BY id
DELETE FROM t WHERE id = 2
DROP TABLE t
