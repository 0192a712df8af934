use keysteward_local::demo;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_proves_everything_and_says_so_in_its_last_line() {
    let mut said = Vec::new();
    let proof = demo::run(&mut said).await.unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(proof.proved, "{said}");
    assert!(!said.contains('✗'), "{said}");

    let lines: Vec<&str> = said.trim_end().lines().collect();
    let objects = lines.iter().filter(|line| line.starts_with('{')).count();
    assert_eq!(objects, 1, "one line of JSON");
    let last: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(last, serde_json::to_value(&proof).unwrap());
    assert_eq!(last["plaintext_in_table"], false);
    assert_eq!(last["failed_reads"], 0);
    assert!(last["reads_during_rotation"].as_u64().unwrap() > 20, "{last}");
    for prefix in ["sk_test_", "rk_test_"] {
        for (at, _) in said.match_indices(prefix) {
            assert!(said[at + prefix.len()..].starts_with('…'), "a token is never written out");
        }
    }
}
