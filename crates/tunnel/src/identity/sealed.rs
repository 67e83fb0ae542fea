//! Key files that are encrypted as OpenSSL does it: of old (`Proc-Type: 4,ENCRYPTED`, RFC 1421, which `ssh-keygen -m PEM`
//! still writes) and by PKCS#8 (`ENCRYPTED PRIVATE KEY`, RFC 5958). Opened, each is a plain PEM file.

use aes::{Aes128, Aes192, Aes256};
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use des::{Des, TdesEde3};
use pem::Pem;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::Decode as _;
use pkcs8::pkcs5;

/// The label of PKCS#8's encrypted files.
const PKCS8: &str = "ENCRYPTED PRIVATE KEY";

/// Why a file does not open.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// The passphrase is not its own.
    Passphrase,
    /// This program does not know the cipher.
    Cipher(String),
}

/// The encrypted block of a file; `None` if it has none, or is of OpenSSH's own format.
pub(super) fn find(text: &str) -> Option<Pem> {
    pem::parse_many(text)
        .ok()?
        .into_iter()
        .find(|block| block.tag() == PKCS8 || block.headers().get("DEK-Info").is_some())
}

/// Opens the block; the same key in a PEM file that is not encrypted.
pub(super) fn open(block: &Pem, passphrase: &str) -> Result<String, Shut> {
    let opened = match block.headers().get("DEK-Info") {
        Some(info) => Pem::new(block.tag(), old(info, passphrase.as_bytes(), block.contents())?),
        None => Pem::new("PRIVATE KEY", pkcs8(block.contents(), passphrase)?),
    };
    Ok(pem::encode_config(&opened, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF)))
}

fn pkcs8(der: &[u8], passphrase: &str) -> Result<Vec<u8>, Shut> {
    let sealed = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|err| Shut::Cipher(err.to_string()))?;
    match sealed.decrypt(passphrase) {
        Ok(opened) => Ok(opened.as_bytes().to_vec()),
        Err(pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::NoPbes1CryptSupport)) => {
            Err(Shut::Cipher("PBES1, a scheme of PKCS#5 version 1".into()))
        }
        Err(pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::UnsupportedAlgorithm { oid })) => {
            Err(Shut::Cipher(format!("the algorithm {oid}")))
        }
        // The padding, or what a wrong passphrase made of the key.
        Err(_) => Err(Shut::Passphrase),
    }
}

/// `DEK-Info: CIPHER,IV`.
fn old(info: &str, passphrase: &[u8], data: &[u8]) -> Result<Vec<u8>, Shut> {
    let unknown = || Shut::Cipher(info.split(',').next().unwrap_or_default().to_owned());
    let (cipher, iv) = info.split_once(',').ok_or_else(unknown)?;
    let iv = unhex(iv.trim()).ok_or_else(unknown)?;
    match cipher.trim() {
        "AES-128-CBC" => decrypt::<Decryptor<Aes128>>(passphrase, &iv, data),
        "AES-192-CBC" => decrypt::<Decryptor<Aes192>>(passphrase, &iv, data),
        "AES-256-CBC" => decrypt::<Decryptor<Aes256>>(passphrase, &iv, data),
        "DES-EDE3-CBC" => decrypt::<Decryptor<TdesEde3>>(passphrase, &iv, data),
        "DES-CBC" => decrypt::<Decryptor<Des>>(passphrase, &iv, data),
        _ => Err(unknown()),
    }
}

fn decrypt<C: KeyIvInit + BlockModeDecrypt>(passphrase: &[u8], iv: &[u8], data: &[u8]) -> Result<Vec<u8>, Shut> {
    let salt = iv.get(..8).ok_or_else(|| Shut::Cipher("an IV that is too short".into()))?;
    let key = stretch(passphrase, salt, C::key_size());
    let cipher =
        C::new_from_slices(&key, iv).map_err(|_| Shut::Cipher("an IV of another length than its cipher's".into()))?;
    let mut data = data.to_vec();
    let opened = cipher.decrypt_padded::<Pkcs7>(&mut data).map_err(|_| Shut::Passphrase)?;
    Ok(opened.to_vec())
}

/// `EVP_BytesToKey` of OpenSSL with MD5 and one round.
fn stretch(passphrase: &[u8], salt: &[u8], length: usize) -> Vec<u8> {
    let mut key = Vec::new();
    let mut last: Vec<u8> = Vec::new();
    while key.len() < length {
        last = md5::compute([&last, passphrase, salt].concat()).0.to_vec();
        key.extend_from_slice(&last);
    }
    key.truncate(length);
    key
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_block_makes_it_panic(info in "[A-Z0-9-]{0,12},[0-9A-F]{0,40}", data: Vec<u8>, words in ".{0,8}") {
            let _ = old(&info, words.as_bytes(), &data);
            let _ = pkcs8(&data, &words);
        }
    }

    #[test]
    fn a_cipher_that_is_not_known_is_named() {
        assert_eq!(old("IDEA-CBC,0011223344556677", b"x", b""), Err(Shut::Cipher("IDEA-CBC".into())));
        assert!(matches!(old("AES-128-CBC,0011", b"x", b""), Err(Shut::Cipher(_))));
    }
}
