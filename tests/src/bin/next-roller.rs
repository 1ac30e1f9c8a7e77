//! `roller` as a build has it that speaks one format more. The test that rolls both builds its own by the feature `next-format`.

#[tokio::main]
async fn main() {
    rome_tests::sites::roller::main().await;
}
