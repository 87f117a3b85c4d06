//! Keys and signatures that must be refused.

mod common;

use common::key;
use data_encoding::HEXLOWER;
use datnode_feed::{Hash, Head, HeadError, KeyError, PublicKey, SecretKey, SignedHead};

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
}

fn head(length: u64) -> Head {
    Head { fork: 0, length, byte_length: 9, root: Hash([1; 32]), ancestor: None }
}

#[test]
fn points_of_small_order_are_no_keys() {
    for hex in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ] {
        assert_eq!(PublicKey::from_bytes(bytes(hex)), Err(KeyError::Weak), "{hex}");
    }
}

#[test]
fn other_encodings_of_points_are_no_keys() {
    // The first ones are points of small order in a second form, the last one has no point at all.
    for hex in [
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0200000000000000000000000000000000000000000000000000000000000000",
    ] {
        assert!(PublicKey::from_bytes(bytes(hex)).is_err(), "{hex}");
    }
    // The numbers from p on encode again what the small ones do: none of them is a second name of a key.
    for low in 0xed_u8..=0xff {
        for high in [0x7f, 0xff] {
            let mut number = [0xff; 32];
            (number[0], number[31]) = (low, high);
            assert!(PublicKey::from_bytes(number).is_err(), "{low:x} {high:x}");
        }
    }
}

#[test]
fn a_signature_holds_for_one_head_of_one_feed() {
    let signed = SignedHead::sign(head(5), &key());
    assert_eq!(signed.verify(&key().public()), Ok(()));
    let other = SecretKey::from_bytes([8; 32]);
    assert_eq!(signed.verify(&other.public()), Err(HeadError::BadSignature));
    let grown = SignedHead { head: head(6), ..signed };
    assert_eq!(grown.verify(&key().public()), Err(HeadError::BadSignature));
    for bit in 0..512 {
        let mut wrong = signed;
        wrong.signature[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(wrong.verify(&key().public()), Err(HeadError::BadSignature), "bit {bit}");
    }
}

#[test]
fn the_order_of_the_group_added_to_a_signature_makes_it_wrong() {
    let order: [u8; 32] = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut signed = SignedHead::sign(head(5), &key());
    let mut carry = 0;
    for (byte, add) in signed.signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    assert_eq!(signed.verify(&key().public()), Err(HeadError::BadSignature));
}

#[test]
fn heads_beyond_the_limits_are_refused() {
    let beyond = SignedHead { head: head(1 << 56), signature: [0; 64] };
    assert_eq!(beyond.verify(&key().public()), Err(HeadError::TooLong));
    assert!(SignedHead::decode(&beyond.encode()).is_err());
    let good = SignedHead::sign(head(5), &key()).encode();
    for len in 0..good.len() {
        assert!(SignedHead::decode(&good[..len]).is_err());
    }
    assert!(SignedHead::decode(&[&good[..], &[0]].concat()).is_err());
}

#[test]
fn a_secret_key_is_not_printed() {
    let shown = format!("{:?}", key());
    assert!(!shown.contains(&HEXLOWER.encode(&*key().to_bytes())), "{shown}");
    assert!(!shown.contains("0707"), "{shown}");
    assert!(!shown.contains("7, 7"), "{shown}");
}
