//! How somebody could have written 32 bytes.

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER, Specification};

/// Returns the ways in which somebody could have written a key.
pub fn spellings(key: &[u8; 32]) -> Vec<Vec<u8>> {
    let mut z_base_32 = Specification::new();
    z_base_32.symbols.push_str("ybndrfg8ejkmcpqxot1uwisza345h769");
    let z_base_32 = z_base_32.encoding().unwrap();
    let debug = |list: String| list.trim_matches(['[', ']']).as_bytes().to_vec();
    let escaped = key.escape_ascii().to_string();
    // The characters of a bech32 word are base 32 with another alphabet; its last one holds fewer bits of ours.
    let mut bech32 = Specification::new();
    bech32.symbols.push_str("qpzry9x8gf2tvdw0s3jn54khce6mua7l");
    let word = bech32.encoding().unwrap().encode(key);
    let mut all = vec![key.to_vec(), escaped.into_bytes(), word.as_bytes()[..51].to_vec()];
    all.push(debug(format!("{key:?}")));
    all.push(debug(format!("{key:x?}")));
    for encoding in [HEXLOWER, HEXUPPER, BASE32_NOPAD, BASE64, BASE64URL_NOPAD, z_base_32] {
        let mut text = encoding.encode(key).into_bytes();
        // The end depends on what follows.
        text.truncate(text.len() / 4 * 4 - 4);
        all.push(text);
    }
    all
}

/// Tells whether the key is written somewhere in there; a third of it is enough to tell.
pub fn tells(said: &[u8], key: &[u8; 32]) -> bool {
    let begin = |spelling: Vec<u8>| spelling[..spelling.len() / 3].to_vec();
    spellings(key).into_iter().map(begin).any(|part| said.windows(part.len()).any(|at| at == part))
}
