//! `rome topology`, as a person runs it: the built program, on embedded stores (one file, one process at a time) and on real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rome::store::{Commit, HomeId, Write};
use rome::{Executor, IntoStatement, Options, Queryable, ReadMode};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// What the program said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// Succeeded, and said this.
    fn well(self, what: &str) -> Self {
        assert!(self.code == 0 && self.out.contains(what), "{what}: {self:#?}");
        self
    }

    /// Failed, and said all of this.
    fn badly(self, what: &[&str]) -> Self {
        let all = format!("{}{}", self.out, self.err);
        assert!(self.code == 1 && what.iter().all(|what| all.contains(what)), "{what:?}: {self:#?}");
        // Neither a panic nor what only programmers read.
        assert!(!all.contains("panicked") && !all.contains("Error {") && !all.contains("s3cret"), "{self:#?}");
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

fn rome(arguments: &[&str]) -> Said {
    let done = Command::new(env!("CARGO_BIN_EXE_rome")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: done.status.code().unwrap_or(-1), out: text(done.stdout), err: text(done.stderr) }
}

/// A directory with stores, and a topology file that names some of them.
struct Ground {
    directory: TempDir,
}

impl Ground {
    /// Sites with an embedded store each; the first is local.
    fn of(sites: &[&str]) -> Self {
        let ground = Self { directory: TempDir::new().unwrap() };
        let stores: Vec<(&str, String)> = sites.iter().map(|site| (*site, ground.store(site))).collect();
        let named: Vec<(&str, &str)> = stores.iter().map(|(site, store)| (*site, store.as_str())).collect();
        ground.write("sites.toml", &format!("local = \"{}\"\n\n{}", sites[0], sites_of(&named)));
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The URL of a store.
    fn store(&self, name: &str) -> String {
        format!("embedded:{}", self.path(&format!("{name}.rome")).display())
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.file(name)
    }

    fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path("sites.toml")).unwrap()
    }

    /// `rome topology COMMAND sites.toml ...`
    fn topology(&self, command: &str, more: &[&str]) -> Said {
        let file = self.file("sites.toml");
        rome(&[&["topology", command, &file], more].concat())
    }

    /// Runs statements as a client at the file's local site.
    fn sql(&self, statements: &[&str]) {
        let url = format!("topology:{}", self.file("sites.toml"));
        in_runtime(async move {
            let db = rome::connect_sites(&url, Options::default()).await.unwrap();
            for statement in statements {
                db.execute(*statement).await.unwrap();
            }
            db.ended().await;
        });
    }

    /// What `status` knows of a site.
    fn status_of(&self, site: &str) -> Value {
        let status = self.topology("status", &["--json"]).json();
        let sites = status["sites"].as_array().unwrap();
        sites.iter().find(|found| found["name"] == site).unwrap_or_else(|| panic!("no {site}: {status:#}")).clone()
    }

    /// The topology that a store keeps.
    fn kept(&self, url: &str) -> Value {
        rome(&["--json", "topology", "show", url]).json()["topology"].clone()
    }
}

fn in_runtime<T>(doing: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(doing)
}

fn sites_of(sites: &[(&str, &str)]) -> String {
    let site = |(name, store): &(&str, &str)| format!("[[site]]\nname = \"{name}\"\nstore = \"{store}\"\n");
    sites.iter().map(site).collect::<Vec<_>>().join("\n")
}

const BY_SITE: &str =
    "CREATE TABLE t (site text, id bigint, PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')";

#[test]
fn a_database_begins_once() {
    let ground = Ground::of(&["pisa", "rome"]);
    ground.topology("show", &[]).badly(&["no database was found", "is missing: there is no file", "SQLSTATE: 08006"]);
    ground.topology("status", &[]).badly(&["unreachable", "No database was found"]);
    assert!(!ground.path("pisa.rome").exists());
    for site in ["pisa", "rome"] {
        in_runtime(async { drop(rome::connect(&ground.store(site)).await.unwrap()) });
    }
    ground.topology("show", &[]).badly(&["no database at the sites", "hint: Begin it with", "SQLSTATE: 55000"]);
    assert!(ground.topology("status", &[]).code == 1);
    let begun = ground.topology("init", &["--json"]).well("").json();
    assert_eq!((begun["began"].as_bool(), begun["topology"]["epoch"].as_u64()), (Some(true), Some(1)));
    ground.topology("init", &[]).well("exists already; nothing was changed");
    let again = ground.topology("init", &["--json"]).json();
    assert_eq!((again["began"].as_bool(), &again["topology"]), (Some(false), &begun["topology"]));
    ground.topology("show", &[]).well("epoch 1, 2 sites\n\nSITE  HOMES\npisa  0\nrome  1\n");
    assert_eq!(ground.kept(&ground.store("rome")), begun["topology"]);
    let url = format!("topology:{}?local=rome", ground.file("sites.toml"));
    rome(&["topology", "show", &url]).well("2 sites");
}

#[test]
fn status_counts_what_each_site_holds() {
    let ground = Ground::of(&["pisa", "rome"]);
    ground.topology("init", &[]).well("Began");
    // Several pages at one site, more than one table, an index that is no row.
    let here = "INSERT INTO t SELECT 'pisa', g.a * 100 + h.a FROM n g CROSS JOIN n h";
    let numbers: Vec<String> = (0..100).map(|n| format!("({n})")).collect();
    let numbers = format!("INSERT INTO n VALUES {}", numbers.join(", "));
    let index = "CREATE INDEX t_id ON t (id)";
    ground.sql(&[BY_SITE, index, "CREATE TABLE n (a bigint PRIMARY KEY)", &numbers, here]);
    ground.sql(&["INSERT INTO t VALUES ('rome', 1), ('rome', 2)"]);
    let (pisa, rome) = (ground.status_of("pisa"), ground.status_of("rome"));
    assert_eq!((pisa["rows"].as_u64(), rome["rows"].as_u64()), (Some(10_100), Some(2)));
    let (many, few) = (pisa["bytes"].as_u64().unwrap(), rome["bytes"].as_u64().unwrap());
    assert!(few > 20 && few < 200 && many > 4_000 * few, "{many} {few}");
    for site in [&pisa, &rome] {
        assert_eq!((&site["state"], &site["engine"], &site["format"]), (&"ok".into(), &"embedded".into(), &"1".into()));
        assert_eq!((&site["durability"], &site["transactions"]["in_doubt"]), (&"fsync".into(), &0.into()));
        assert!(site["round_trip_ms"].as_f64().is_some() && site["replication_lag_ms"].is_null(), "{site:#}");
    }
    let table = ground.topology("status", &[]).well("10,100").out;
    let lines: Vec<&str> = table.lines().skip(2).collect();
    let column = lines[0].find("STATE").unwrap();
    assert!(lines[1..].iter().all(|line| line[column..].starts_with("ok")), "{table}");
    let fast = ground.topology("status", &["--fast", "--json"]).json();
    assert!(fast["sites"][0]["rows"].is_null() && fast["sites"][0]["state"] == "ok");
}

#[test]
fn sites_join_and_leave_and_the_file_keeps_its_shape() {
    let ground = Ground::of(&["pisa", "rome"]);
    let commented = ground.text().replace("[[site]]\nname = \"rome\"", "# the capital\n[[site]]\nname = \"rome\" # !");
    ground.write("sites.toml", &commented);
    ground.topology("init", &[]).well("Began");
    let store = ground.store("turin");
    ground.topology("add", &["turin", "--store", &store, "--homes", "2"]).well("added to the database and to the file");
    let added = format!("{commented}\n[[site]]\nname = \"turin\"\nstore = \"{store}\"\nhomes = 2\n");
    assert_eq!(ground.text(), added);
    let kept = ground.kept(&store);
    assert_eq!((&kept["epoch"], &kept["sites"][2]["homes"]), (&2.into(), &vec![2, 3].into()));
    ground.topology("add", &["turin"]).badly(&["exists already", "42710"]);
    // The file as it was: whoever was interrupted does it again.
    ground.write("sites.toml", &commented);
    ground.topology("add", &["turin", "--store", &store]).well("had site \"turin\" already");
    ground.write("sites.toml", &added);
    ground.sql(&[BY_SITE, "INSERT INTO t VALUES ('turin', 1)"]);
    let held = ground.topology("remove", &["turin"]).badly(&["has rows or claims", "55000", "hint: Move or delete"]);
    assert!(held.err.contains("turin") && ground.text() == added);
    ground.sql(&["DELETE FROM t"]);
    ground.topology("remove", &["turin"]).well("removed from the database and from the file");
    assert_eq!(ground.text(), commented);
    assert_eq!(ground.kept(&ground.store("pisa"))["sites"].as_array().unwrap().len(), 2);
    ground.topology("remove", &["turin"]).badly(&["does not exist", "22023"]);
    ground.write("sites.toml", &added);
    ground.topology("remove", &["turin"]).well("had no site \"turin\" any more");
    assert_eq!(ground.text(), commented);
    // Another may use its store again, since it was asked and left nothing.
    ground.topology("add", &["milan", "--store", &store]).well("added to the database");
}

#[test]
fn a_file_of_one_site_more_lets_it_join() {
    let ground = Ground::of(&["pisa", "rome"]);
    ground.topology("init", &[]).well("Began");
    let text = format!("{}\n{}", ground.text(), sites_of(&[("turin", &ground.store("turin"))]));
    ground.write("sites.toml", &text);
    ground.topology("init", &[]).badly(&["\"turin\" is none of its sites", "rome topology add"]);
    ground.topology("show", &[]).badly(&["site \"turin\" can't be reached"]);
    let other = ground.store("other");
    ground.topology("add", &["turin", "--store", &other]).badly(&["names another store", "42710"]);
    ground.topology("add", &["turin"]).well("which the file names, was added");
    assert_eq!(ground.text(), text);
    ground.topology("show", &[]).well("3 sites");
}

#[test]
fn a_file_that_forgets_a_site_is_told() {
    let ground = Ground::of(&["pisa", "rome"]);
    ground.topology("init", &[]).well("Began");
    ground.sql(&[BY_SITE, "INSERT INTO t VALUES ('rome', 1), ('pisa', 1)"]);
    ground.write("sites.toml", &format!("local = \"pisa\"\n{}", sites_of(&[("pisa", &ground.store("pisa"))])));
    let shown = ground.topology("show", &[]).well("2 sites");
    assert!(shown.err.contains("note: the file does not name site \"rome\""), "{shown:#?}");
    ground.topology("init", &[]).well("exists already");
    ground.topology("status", &[]).badly(&["not in the file", "does not name site \"rome\""]);
    // Opening works, and what is there can be used.
    ground.sql(&["UPDATE t SET id = 2 WHERE site = 'pisa'"]);
    // Whoever removes it without its store would lose its rows.
    ground.topology("remove", &["rome"]).badly(&["08006", "rome"]);
    assert_eq!(ground.kept(&ground.store("pisa"))["epoch"], 1);
}

#[test]
fn an_unreachable_site_is_a_line_of_the_answer() {
    let ground = Ground::of(&["pisa", "rome"]);
    let text = format!("{}\n{}", ground.text(), sites_of(&[("turin", "redis://u:s3cret@127.0.0.1:1")]));
    ground.write("sites.toml", &text);
    ground.topology("init", &[]).badly(&["127.0.0.1:1", "turin", "08006"]);
    assert!(!ground.path("sites.toml.tmp").exists());
    ground.write("sites.toml", &text.replace("redis://u:s3cret@127.0.0.1:1", &ground.store("turin")));
    ground.topology("init", &[]).well("Began");
    ground.write("sites.toml", &text);
    let begun = std::time::Instant::now();
    let status = ground.topology("status", &["--timeout", "3"]).badly(&["unreachable", "redis://127.0.0.1:1", "08006"]);
    assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
    assert_eq!(status.out.lines().filter(|line| line.contains(" ok ")).count(), 2, "{}", status.out);
    let json = ground.topology("status", &["--json", "--timeout", "1"]).badly(&[]).json();
    assert_eq!(
        (&json["sites"][2]["state"], &json["sites"][2]["error"]["sqlstate"]),
        (&"unreachable".into(), &"08006".into())
    );
    assert_eq!(json["sites"][0]["rows"], 0);
    ground.topology("show", &["--timeout", "1"]).badly(&["3 sites", "\"turin\" can't be reached"]);
    ground.topology("remove", &["turin"]).badly(&["turin", "08006"]);
    assert_eq!(ground.text(), text);
    ground.topology("add", &["milan", "--store", "redis://:s3cret@127.0.0.1:1"]).badly(&["08006"]);
    assert_eq!(ground.text(), text);
}

#[test]
fn bad_files_are_refused() {
    let ground = Ground::of(&["pisa", "rome"]);
    let all = ["init", "show", "status"];
    let refused = |text: &str, what: &[&str]| {
        ground.write("sites.toml", text);
        all.iter().for_each(|command| drop(ground.topology(command, &[]).badly(what)));
        ground.topology("add", &["milan", "--store", &ground.store("milan")]).badly(what);
        assert_eq!(ground.text(), text);
    };
    let (pisa, rome) = (ground.store("pisa"), ground.store("rome"));
    refused(&sites_of(&[("pisa", &pisa), ("pisa", &rome)]), &["two sites are named \"pisa\"", "22023"]);
    let stranger = format!("local = \"athens\"\n{}", sites_of(&[("pisa", &pisa), ("rome", &rome)]));
    refused(&stranger, &["site \"athens\" does not exist", "hint: The sites are: pisa, rome", "22023"]);
    refused("local = \"pisa\"\n\n[[site]]\nname = \"pisa\"\nstore = s3cret\n", &["line 5", "08001"]);
    refused("[[site]]\nname = \"pisa\"\n", &["missing field `store`", "line 1", "08001"]);
    refused("# nothing\n", &["names no site", "08001"]);
    refused(&sites_of(&[("pisa", "nosuch://u:s3cret@h")]), &["there is no store for \"nosuch:\"", "08001"]);
    refused(&format!("{}homes = 65\n", sites_of(&[("pisa", &pisa)])), &["between 1 and 64 homes, not 65"]);
    std::fs::remove_file(ground.path("sites.toml")).unwrap();
    for command in all {
        ground.topology(command, &[]).badly(&["sites.toml", "can't be read: No such file", "08001"]);
    }
    let left: Vec<_> = std::fs::read_dir(ground.directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!left.iter().any(|path| path.extension().is_some_and(|kind| kind == "toml")), "{left:?}");
}

#[test]
fn bad_arguments_are_refused() {
    let ground = Ground::of(&["pisa", "rome"]);
    let file = ground.file("sites.toml");
    for arguments in [
        &["topology"][..],
        &["topology", "init"],
        &["topology", "init", &file, "--homes", "3"],
        &["topology", "add", &file, "turin", "--homes", "many"],
        &["topology", "status", &file, "--timeout", "-1"],
        &["nonsense"],
    ] {
        assert_eq!(rome(arguments).code, 2, "{arguments:?}");
    }
    ground.topology("init", &["--local", "athens"]).badly(&["site \"athens\" does not exist"]);
    ground.topology("init", &[]).well("Began");
    ground.topology("add", &["turin"]).badly(&["nothing says where the store", "hint: Say it with --store"]);
    ground.topology("add", &["", "--store", &ground.store("x")]).badly(&["the site name \"\"", "22023"]);
    ground.topology("remove", &["pisa"]).badly(&["is the site that this client is at", "55000"]);
    ground.topology("status", &["--local", "athens"]).badly(&["does not exist"]);
    let error = ground.topology("remove", &["athens", "--json"]).badly(&[]).json();
    assert_eq!(error["error"]["sqlstate"], "22023");
    rome(&["--help"]).well("topology");
    rome(&["topology", "--help"]).well("status");
    assert_eq!(rome(&["topology", "show", "redis://:s3cret@127.0.0.1:1"]).badly(&["08006"]).out, "");
    // Who looks leaves nothing behind.
    rome(&["topology", "show", &ground.store("none")]).badly(&["there is no file", "08006"]);
    assert!(!ground.path("none.rome").exists());
    in_runtime(async { drop(rome::connect(&ground.store("one")).await.unwrap()) });
    rome(&["topology", "show", &ground.store("one")]).badly(&["holds no database of several sites"]);
}

#[test]
fn stores_of_others_are_refused() {
    let ground = Ground::of(&["pisa", "rome"]);
    ground.topology("init", &[]).well("Began");
    let other = Ground::of(&["pisa", "rome"]);
    other.topology("init", &[]).well("Began");
    let before = other.kept(&other.store("rome"));
    let text = ground.text();
    // The store of another cluster, as a site and as a new one.
    let mixed =
        format!("local = \"pisa\"\n{}", sites_of(&[("pisa", &ground.store("pisa")), ("rome", &other.store("rome"))]));
    ground.write("sites.toml", &mixed);
    ground.topology("init", &[]).badly(&[
        "\"rome\" belongs to another database",
        "55000",
        before["cluster"].as_str().unwrap(),
    ]);
    ground.topology("status", &[]).badly(&["foreign"]);
    ground.write("sites.toml", &text);
    let add = |store: &str| ground.topology("add", &["turin", "--store", store]);
    add(&other.store("rome")).badly(&["\"turin\" belongs to another database", "55000"]);
    assert_eq!(other.kept(&other.store("rome")), before);
    // One that holds a database of its own.
    let alone = ground.store("alone");
    in_runtime(async {
        let db = rome::connect(&alone).await.unwrap();
        db.execute("CREATE TABLE t (id bigint PRIMARY KEY)").await.unwrap();
    });
    add(&alone).badly(&["holds a database of its own", "55000"]);
    // One that another version of Rome wrote.
    let newer = ground.store("newer");
    in_runtime(async {
        let store = rome::open_store(&newer).await.unwrap();
        let mark = Write::Put(rome_core::catalog::keys::format_key(), b"77".as_slice().into());
        store.commit(&HomeId::new("main"), Commit { writes: vec![mark], ..Commit::default() }).await.unwrap();
    });
    add(&newer).badly(&[
        "holds format 77, this version of Rome speaks format 1",
        "57P03",
        "hint: Use a version of Rome that speaks format 77",
    ]);
    rome(&["topology", "show", &newer]).badly(&["57P03"]);
    let with_newer = format!("{text}\n{}", sites_of(&[("turin", &newer)]));
    ground.write("sites.toml", &with_newer);
    ground.topology("init", &[]).badly(&["holds format 77", "57P03"]);
    ground.write("sites.toml", &text.replace(&ground.store("rome"), &ground.store("pisa")));
    ground.topology("init", &[]).badly(&["sites \"pisa\" and \"rome\" have the same store", "08001"]);
    ground.write("sites.toml", &with_newer);
    ground.topology("status", &[]).badly(&["other format", "holds format 77"]);
    ground.write("sites.toml", &text);
    assert_eq!((&ground.kept(&ground.store("pisa"))["epoch"], ground.text()), (&1.into(), text));
}

/// This build speaks one format only: it says so, and raises nothing that is not as it should be.
#[test]
fn a_database_in_the_newest_format_is_not_raised() {
    let ground = Ground::of(&["pisa", "rome"]);
    ground.topology("upgrade", &[]).badly(&["no database was found", "08006"]);
    ground.topology("init", &[]).well("Began");
    ground.sql(&[BY_SITE, "INSERT INTO t VALUES ('pisa', 1), ('rome', 1)"]);
    let newest = rome_core::catalog::Format::NEWEST.to_string();
    ground.topology("status", &[]).well(&format!("epoch 1, format {newest}, 2 sites"));
    assert_eq!(ground.topology("status", &["--json"]).json()["format"], newest.as_str());
    ground.topology("upgrade", &[]).well("already, the newest that this version of Rome speaks; nothing was changed");
    let done = ground.topology("upgrade", &["--json"]).well("").json();
    assert_eq!((&done["from"], &done["to"], &done["topology"]["epoch"]), (&done["to"], &newest.into(), &1.into()));
    // A site that is away, and one with a store that this build does not speak to.
    std::fs::rename(ground.path("rome.rome"), ground.path("away")).unwrap();
    ground.topology("upgrade", &[]).badly(&["\"rome\" is missing", "raised at all of its sites at once", "08006"]);
    std::fs::rename(ground.path("away"), ground.path("rome.rome")).unwrap();
    in_runtime(async {
        let store = rome::open_store(&ground.store("rome")).await.unwrap();
        let mark = Write::Put(rome_core::catalog::keys::format_key(), b"77".as_slice().into());
        store.commit(&HomeId::new("main"), Commit { writes: vec![mark], ..Commit::default() }).await.unwrap();
    });
    ground.topology("upgrade", &[]).badly(&["holds format 77", "At site \"rome\"", "57P03"]);
    ground.topology("status", &[]).badly(&["other format", "holds format 77"]);
    assert_eq!(ground.kept(&ground.store("pisa"))["epoch"], 1);
}

/// A client that dies while it writes at several sites, then a site that is gone.
#[test]
fn a_site_that_is_gone_is_forgotten() {
    let ground = Ground::of(&["pisa", "rome", "turin"]);
    ground.topology("init", &[]).well("Began");
    let unique = BY_SITE.replace("PRIMARY KEY (site, id)", "name text UNIQUE, PRIMARY KEY (site, id)");
    let there = "CREATE TABLE there (id bigint PRIMARY KEY) WITH (placement = 'at(turin)')";
    ground.sql(&[&unique, there, "INSERT INTO t VALUES ('pisa', 1, 'a'), ('rome', 1, 'b'), ('turin', 1, 'c')"]);
    let forget = |more: &[&str]| ground.topology("forget", &[&["turin"], more].concat());
    assert_eq!(forget(&[]).code, 2);
    // A global table, of which there is a copy at the local site.
    let url = format!("topology:{}", ground.file("sites.toml"));
    in_runtime(async {
        let db = rome::connect_sites(&url, Options::default()).await.unwrap();
        let global = "CREATE TABLE everywhere (id bigint PRIMARY KEY) WITH (placement = 'global(turin)')";
        db.execute(global).await.unwrap();
        let copied = ReadMode::Stale { max: Duration::from_secs(60) };
        for _ in 0..100 {
            let read = db.run_reading("SELECT id FROM everywhere".into_statement(), copied).await.unwrap();
            if read.report.staleness.is_some() {
                db.ended().await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never copied");
    });
    forget(&["--yes-it-is-gone"]).badly(&["\"turin\" is not gone: its store answers", "55000", "hint: Move or delete"]);
    std::fs::remove_file(ground.path("turin.rome")).unwrap();
    let text = ground.text();
    ground.topology("status", &[]).badly(&["unreachable"]);
    ground.topology("remove", &["turin"]).badly(&["turin"]);
    assert!(!ground.path("turin.rome").exists());
    // To begin what is there already makes no store in place of one that was lost.
    ground.topology("init", &[]).badly(&["exists already", "site \"turin\" can't be reached"]);
    assert!(!ground.path("turin.rome").exists());
    forget(&["--yes-it-is-gone"]).badly(&["would be gone: \"there\"", "55000"]);
    // Who does not name it can't see that it is gone.
    let (before, _) = text.split_once("[[site]]\nname = \"turin\"").unwrap();
    ground.write("sites.toml", before);
    forget(&["--yes-it-is-gone", "--drop-tables"]).badly(&["nobody can see that it is gone", "55000"]);
    ground.write("sites.toml", &text);
    assert_eq!((&ground.kept(&ground.store("pisa"))["epoch"], ground.text()), (&1.into(), text));
    let done =
        forget(&["--yes-it-is-gone", "--drop-tables", "--json"]).well("taken out of the database and of the file");
    let done = done.json();
    let note = done["notes"][0].as_str().unwrap();
    assert!(note.contains("\"everywhere\" is written at site \"pisa\"") && note.contains("acknowledged"), "{note}");
    assert_eq!(done["taken_over_tables"], serde_json::json!([{ "table": "everywhere", "site": "pisa" }]));
    assert_eq!((&done["dropped_tables"], &done["tables_that_lost_rows"]), (&vec!["there"].into(), &vec!["t"].into()));
    assert_eq!((&done["decided"], &done["topology"]["epoch"]), (&Vec::<Value>::new().into(), &2.into()));
    assert!(!ground.text().contains("turin"));
    ground.sql(&["INSERT INTO t VALUES ('pisa', 2, 'c')", "UPDATE t SET name = name || '!'"]);
    assert_eq!(ground.status_of("pisa")["rows"], 2);
    forget(&["--yes-it-is-gone"]).badly(&["does not exist", "22023"]);
    ground.topology("show", &[]).well("epoch 2, 2 sites");
}

/// A site whose store is as it was before rows and a table were made.
#[test]
fn a_site_that_was_restored_is_put_in_order() {
    let ground = Ground::of(&["pisa", "rome", "turin"]);
    ground.topology("init", &[]).well("Began");
    let unique = BY_SITE.replace("PRIMARY KEY (site, id)", "name text UNIQUE, PRIMARY KEY (site, id)");
    ground.sql(&[&unique, "INSERT INTO t VALUES ('rome', 0, 'lost')"]);
    std::fs::copy(ground.path("rome.rome"), ground.path("backup")).unwrap();
    let late = "CREATE TABLE late (site text, id bigint, PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')";
    let names: Vec<String> = (1..=12).map(|id| format!("('pisa', {id}, 'n{id}')")).collect();
    ground.sql(&[late, "DELETE FROM t", &format!("INSERT INTO t VALUES {}", names.join(", "))]);
    std::fs::copy(ground.path("backup"), ground.path("rome.rome")).unwrap();
    let restored = |more: &[&str]| ground.topology("restored", more);
    restored(&["milan"]).badly(&["does not exist", "22023"]);
    let done = restored(&["rome", "--json"]).well("claimed anew").json();
    // What was deleted after the backup is back.
    assert_eq!(done["claimed"], serde_json::json!([{ "table": "t", "claims": 13 }]));
    assert_eq!(done["topology"]["epoch"], 2);
    ground
        .sql(&["INSERT INTO late VALUES ('rome', 1), ('pisa', 1)", "UPDATE t SET site = 'turin' WHERE name = 'lost'"]);
    let holds: Vec<String> = (1..=12).map(|id| format!("UPDATE t SET id = id + 100 WHERE name = 'n{id}'")).collect();
    ground.sql(&holds.iter().map(String::as_str).collect::<Vec<_>>());
    restored(&["rome"]).well("KEYS CLAIMED");
    ground.topology("status", &[]).well("epoch 3");
}

fn server_url(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run `./scripts/test`, or `scripts/servers run -- cargo test -p rome-server`")
    })
}

/// A Redis, an etcd and a file make one database.
#[test]
fn kinds_of_stores_differ_from_site_to_site() {
    let namespace = format!("cli_{}", uuid::Uuid::new_v4().simple());
    let redis = format!("{}?namespace={namespace}", server_url("ROME_TEST_REDIS_URL"));
    let etcd = format!("{}?namespace={namespace}", server_url("ROME_TEST_ETCD_URL"));
    let ground = Ground::of(&["pisa", "rome"]);
    let text = format!("local = \"pisa\"\n{}", sites_of(&[("pisa", &redis), ("rome", &etcd)]));
    ground.write("sites.toml", &text);
    ground.topology("init", &[]).well("Began a database at 2 sites");
    ground.sql(&[BY_SITE, "INSERT INTO t VALUES ('rome', 1), ('rome', 2), ('pisa', 1)"]);
    ground.topology("add", &["turin", "--store", &ground.store("turin")]).well("3 sites");
    ground.sql(&["INSERT INTO t VALUES ('turin', 1)"]);
    for (site, engine, rows) in [("pisa", "redis", 1), ("rome", "etcd", 2), ("turin", "embedded", 1)] {
        let status = ground.status_of(site);
        assert_eq!(
            (&status["engine"], &status["rows"], &status["state"]),
            (&engine.into(), &rows.into(), &"ok".into())
        );
        assert!(status["round_trip_ms"].as_f64().unwrap() > 0.0);
    }
    ground.sql(&["DELETE FROM t WHERE site = 'turin'"]);
    ground.topology("remove", &["turin"]).well("removed from the database and from the file");
    ground
        .topology("add", &["milan", "--store", &redis])
        .badly(&["\"pisa\" and \"milan\" have the same store", "08001"]);
    assert_eq!(ground.kept(&etcd)["epoch"], 3);
}
