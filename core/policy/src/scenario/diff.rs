//! The difference of two transcripts, line by line.

/// Lines around a difference that are shown.
const CONTEXT: usize = 2;

/// `-` lines are expected only, `+` lines are there only.
pub(super) fn diff(expected: &str, actual: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    let edits = edits(&old, &new);
    let near = |index: usize| {
        let from = index.saturating_sub(CONTEXT);
        edits[from..edits.len().min(index + CONTEXT + 1)].iter().any(|(mark, _)| *mark != ' ')
    };
    let mut text = String::new();
    let mut gap = false;
    for (index, (mark, line)) in edits.iter().enumerate() {
        if near(index) {
            text += &format!("{mark} {line}\n");
            gap = false;
        } else if !gap {
            text += "  …\n";
            gap = true;
        }
    }
    if text.is_empty() { "only white space at the ends of lines differs\n".to_owned() } else { text }
}

/// By the longest common subsequence: transcripts have some hundred lines.
fn edits<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str)> {
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut edits = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            edits.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            edits.push(('-', old[i]));
            i += 1;
        } else {
            edits.push(('+', new[j]));
            j += 1;
        }
    }
    edits
}
