//! Random changes to tables with constraints of all kinds. Keys come from a small set, so that most constraints are hit often.

use super::Random;

/// The statements that create the tables for changes.
pub fn constrained_tables() -> Vec<String> {
    [
        "CREATE TABLE p (id integer PRIMARY KEY, u integer UNIQUE, name varchar(5) NOT NULL DEFAULT 'none', \
         v integer CHECK (v < 50))",
        "CREATE TABLE c (id integer PRIMARY KEY, p_id integer REFERENCES p (id), k integer, l integer, UNIQUE (k, l))",
        "CREATE TABLE cascading (id integer PRIMARY KEY, \
         p_id integer NOT NULL CHECK (p_id <> 8) REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE)",
        "CREATE TABLE nulling (id integer PRIMARY KEY, p_id integer REFERENCES p (id) ON DELETE SET NULL ON UPDATE CASCADE, \
         note text, CHECK (p_id IS NOT NULL OR id <> 5))",
        "CREATE TABLE falling (id integer PRIMARY KEY, \
         p_id integer DEFAULT 2 CHECK (id <> 3 OR p_id <> 2) REFERENCES p (id) ON DELETE SET DEFAULT ON UPDATE SET DEFAULT)",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// A change. Which of several violations is reported is not compared where it writes several rows: then the flag is set.
pub fn change(random: &mut Random) -> (String, bool) {
    let returning = |random: &mut Random| if random.one_in(3) { " RETURNING *" } else { "" };
    match random.below(12) {
        0 | 1 => {
            let conflict = *random.pick(&["", "", " ON CONFLICT DO NOTHING", " ON CONFLICT (id) DO NOTHING"]);
            let rows = 1 + random.below(3);
            let values: Vec<String> = (0..rows).map(|_| parent(random)).collect();
            (
                format!("INSERT INTO p (id, u, name, v) VALUES {}{conflict}{}", values.join(", "), returning(random)),
                rows > 1,
            )
        }
        2 => {
            let (target, set) = *random.pick(&[
                ("id", "u = excluded.u, v = p.v + 1"),
                ("id", "name = excluded.name"),
                ("u", "v = excluded.v, name = p.name || 'x'"),
            ]);
            let filter = *random.pick(&["", " WHERE p.v IS NOT NULL", " WHERE excluded.v > p.v"]);
            let row = parent(random);
            let insert = format!("INSERT INTO p (id, u, name, v) VALUES {row}");
            (format!("{insert} ON CONFLICT ({target}) DO UPDATE SET {set}{filter}{}", returning(random)), false)
        }
        3 | 4 => {
            let (id, p, k, l) = (random.below(12), key(random), random.below(3), key(random));
            (format!("INSERT INTO c VALUES ({id}, {p}, {k}, {l}){}", returning(random)), false)
        }
        5 => {
            let table = *random.pick(&["cascading", "nulling", "falling"]);
            (format!("INSERT INTO {table} (id, p_id) VALUES ({}, {})", random.below(12), key(random)), false)
        }
        6 => {
            let set = *random.pick(&["v = v + 7", "v = NULL", "name = upper(name) || 'e'", "name = NULL", "v = 60"]);
            let filter =
                *random.pick(&["v > 3", "id < 4", "u IS NULL", "name LIKE 'n%'", "id IN (SELECT p_id FROM c)"]);
            (format!("UPDATE p SET {set} WHERE {filter}{}", returning(random)), true)
        }
        7 => {
            let (column, value) = (*random.pick(&["id", "u"]), random.below(9));
            (format!("UPDATE p SET {column} = {value} WHERE id = {}{}", random.below(9), returning(random)), false)
        }
        8 => {
            let set = *random.pick(&["p_id = p_id + 1", "k = 1, l = NULL", "l = 2"]);
            (format!("UPDATE c SET {set} WHERE id = {}{}", random.below(12), returning(random)), false)
        }
        9 => (format!("UPDATE c SET k = p.v FROM p WHERE p.id = c.p_id AND c.id = {}", random.below(12)), false),
        10 => {
            let filter = match random.below(3) {
                0 => format!("id = {}", random.below(9)),
                1 => "v > 40".to_owned(),
                _ => "NOT EXISTS (SELECT 1 FROM c WHERE c.p_id = p.id) AND u < 3".to_owned(),
            };
            (format!("DELETE FROM p WHERE {filter}{}", returning(random)), true)
        }
        _ => match random.below(3) {
            0 => (format!("DELETE FROM c USING p WHERE p.id = c.p_id AND p.v > {}", random.below(40)), false),
            1 => (format!("DELETE FROM c WHERE id = {}{}", random.below(12), returning(random)), false),
            _ => ("INSERT INTO nulling SELECT id + 20, p_id, 'copy' FROM nulling WHERE id < 3".to_owned(), true),
        },
    }
}

fn key(random: &mut Random) -> String {
    if random.one_in(6) { "NULL".to_owned() } else { random.below(9).to_string() }
}

fn parent(random: &mut Random) -> String {
    let name = *random.pick(&["'ann'", "'bob'", "'none'", "DEFAULT", "NULL", "'longer'", "'ab   '"]);
    let (id, u) = (random.below(9), key(random));
    let v = if random.one_in(8) { "50".to_owned() } else { random.literal_or_null(super::Kind::Int, 6) };
    format!("({id}, {u}, {name}, {v})")
}
