//! The portable suite on every back end: one test for each case and back end, named `back_end::group::case`.

/// The tests of one back end.
macro_rules! tests {
    ($back_end:ident $($group:ident { $($case:ident $([$($feature:ident)+])?),+ $(,)? })+) => {$(
        mod $group {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    rome_tests::back_end::run(
                        rome_tests::back_end::BackEnd::$back_end,
                        |_features| true $($(&& _features.$feature)+)?,
                        |db| Box::pin(rome_tests::portable::$group::$case(db)),
                    )
                    .await;
                }
            )+
        }
    )+};
}

mod memory {
    rome_tests::portable_cases! { tests!(Memory) }
}

mod embedded {
    rome_tests::portable_cases! { tests!(Embedded) }
}

mod redis {
    rome_tests::portable_cases! { tests!(Redis) }
}

mod etcd {
    rome_tests::portable_cases! { tests!(Etcd) }
}

mod sqlite {
    rome_tests::portable_cases! { tests!(Sqlite) }
}

mod mariadb {
    rome_tests::portable_cases! { tests!(MariaDb) }
}

mod postgres {
    rome_tests::portable_cases! { tests!(Postgres) }
}

/// Groups with their source and the cases that are listed.
macro_rules! listed {
    (; $($group:ident { $($case:ident $([$($feature:ident)+])?),+ $(,)? })+) => {
        [$((
            stringify!($group),
            include_str!(concat!("../src/portable/", stringify!($group), ".rs")),
            &[$(stringify!($case)),+] as &[&str],
        )),+]
    };
}

#[test]
fn every_case_is_listed() {
    for (group, source, listed) in rome_tests::portable_cases! { listed!(;) } {
        let written: Vec<&str> = source
            .lines()
            .filter_map(|line| line.strip_prefix("pub async fn ")?.split_once('(').map(|(name, _)| name))
            .collect();
        let missing: Vec<_> = written.iter().filter(|case| !listed.contains(case)).collect();
        assert!(missing.is_empty(), "cases of {group} that are not in the list of portable_cases: {missing:?}");
    }
}
