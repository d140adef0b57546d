//! The bugs that `make mutations` puts back must still fit the tree, or it would prove nothing.

use std::{fs, path::Path, process::Command};

#[test]
fn every_mutation_still_applies_and_says_what_it_breaks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut patches: Vec<_> = fs::read_dir(root.join("chaos/mutations")).unwrap().map(|entry| entry.unwrap().path()).collect();
    patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    assert!(patches.len() >= 6, "{patches:?}");
    for patch in patches {
        let text = fs::read_to_string(&patch).unwrap();
        let header = text.split("\ndiff --git").next().unwrap();
        assert!(header.contains("Breaks "), "{} does not say what it breaks", patch.display());
        let check = Command::new("git").args(["apply", "--check"]).arg(&patch).current_dir(root).output().unwrap();
        assert!(check.status.success(), "{}: {}", patch.display(), String::from_utf8_lossy(&check.stderr));
    }
}
