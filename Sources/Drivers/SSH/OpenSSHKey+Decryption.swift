internal import Crypto
internal import CryptoExtras
internal import Foundation

extension OpenSSHKey {
    enum DecryptionProblem: Error, Hashable, Sendable {
        case wrongPassphrase
        case unsupported(String)
    }

    /// The same key without a passphrase, as text for libssh2. The passphrase is right where two numbers inside are equal.
    func decrypted(passphrase: String) throws(DecryptionProblem) -> [UInt8] {
        let keySizes = ["aes128-ctr": 16, "aes192-ctr": 24, "aes256-ctr": 32]
        guard let keySize = keySizes[cipher] else { throw .unsupported("it is encrypted with \(cipher.quotable(limit: 40))") }
        guard derivation == "bcrypt" else { throw .unsupported("its passphrase goes through \(derivation.quotable(limit: 40))") }
        var options = WireReader(derivationOptions)
        guard let salt = options.string(), let rounds = options.uint32(),
            let material = BcryptPBKDF.key(passphrase: Array(passphrase.utf8), salt: salt, rounds: Int(rounds), count: keySize + 16)
        else { throw passphrase.isEmpty ? .wrongPassphrase : .unsupported("the parameters of its passphrase make no sense") }
        guard
            let plain = try? AES._CTR.decrypt(
                secret,
                using: SymmetricKey(data: material.prefix(keySize)),
                nonce: AES._CTR.Nonce(nonceBytes: material.suffix(16))
            )
        else { throw .unsupported("it can't be decrypted") }
        var reader = WireReader(plain)
        guard let first = reader.uint32(), let second = reader.uint32(), first == second else { throw .wrongPassphrase }
        return Self.armored(publicBlob: publicBlob, secret: Array(plain))
    }
}
