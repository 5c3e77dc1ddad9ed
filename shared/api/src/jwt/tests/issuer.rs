//! An issuer of tokens, and how it signs.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

use crate::jwt::JwkSet;

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of this header and these claims.
pub(super) fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let signature = base64(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

pub(super) fn hmac_of(secret: impl AsRef<[u8]>) -> impl FnOnce(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref());
    move |message| hmac::sign(&key, message).as_ref().to_vec()
}

/// The key pairs of an issuer.
pub(super) struct Issuer {
    pub(super) rsa: RsaKeyPair,
    pub(super) ec: EcdsaKeyPair,
    pub(super) ed: Ed25519KeyPair,
}

impl Issuer {
    pub(super) fn new() -> Self {
        let random = SystemRandom::new();
        let pem: String = include_str!("published-test-key.pem")
            .lines()
            .skip_while(|line| !line.starts_with("-----BEGIN"))
            .filter(|line| !line.starts_with("-----"))
            .collect();
        let rsa = RsaKeyPair::from_pkcs8(&STANDARD.decode(pem).expect("base64")).expect("a key");
        let (alg, document) = (&ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair::generate_pkcs8);
        let document = document(alg, &random).expect("a key");
        let ec = EcdsaKeyPair::from_pkcs8(alg, document.as_ref(), &random).expect("a key");
        let document = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        let ed = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
        Self { rsa, ec, ed }
    }

    pub(super) fn jwks(&self) -> Vec<Value> {
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        let (x, y) = self.ec.public_key().as_ref()[1..].split_at(32);
        vec![
            json!({"kty": "RSA", "kid": "r", "alg": "RS256", "use": "sig", "n": base64(n), "e": base64(e)}),
            json!({"kty": "EC", "kid": "c", "crv": "P-256", "x": base64(x), "y": base64(y)}),
            json!({"kty": "OKP", "kid": "d", "crv": "Ed25519", "x": base64(self.ed.public_key())}),
        ]
    }

    pub(super) fn set(&self) -> JwkSet {
        JwkSet::from_json(&json!({"keys": self.jwks()}).to_string()).expect("a set")
    }

    pub(super) fn rs256(&self, header: &Value, claims: &Value) -> String {
        token(header, claims, |message| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            let random = SystemRandom::new();
            self.rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("signed");
            signature
        })
    }

    pub(super) fn es256(&self, header: &Value, claims: &Value) -> String {
        let sign =
            |message: &[u8]| self.ec.sign(&SystemRandom::new(), message).expect("signed").as_ref().to_vec();
        token(header, claims, sign)
    }

    pub(super) fn eddsa(&self, header: &Value, claims: &Value) -> String {
        token(header, claims, |message| self.ed.sign(message).as_ref().to_vec())
    }
}
