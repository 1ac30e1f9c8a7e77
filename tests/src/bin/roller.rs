//! A client process that a test replaces by that of another build: see [`rome_tests::sites::roller`].

#[tokio::main]
async fn main() {
    rome_tests::sites::roller::main().await;
}
