internal import Crypto
internal import CryptoExtras
internal import Foundation
internal import SSH

/// A signature as `ssh-keygen -Y sign` makes it (OpenSSH's PROTOCOL.sshsig).
struct SSHSignature: Sendable {
    let key: PublicKey
    let namespace: String
    private let reserved: [UInt8]
    private let hash: String
    private let algorithm: String
    private let signature: [UInt8]

    /// Why a signature does not count; a clause that follows what was signed.
    struct Refusal: Error, Hashable, Sendable {
        var reason: String
    }

    init(armored text: String) throws(Refusal) {
        let lines = text.split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
        guard lines.first == "-----BEGIN SSH SIGNATURE-----", lines.last == "-----END SSH SIGNATURE-----", lines.count > 2 else {
            let isPGP = text.contains("BEGIN PGP")
            throw Refusal(reason: isPGP ? "is signed with OpenPGP; only SSH signatures count (git config gpg.format ssh)" : "has no SSH signature")
        }
        let damage = Refusal(reason: "has a signature that can't be read")
        guard text.utf8.count <= 64 << 10, let bytes = Base64.decode(lines[1..<lines.count - 1].joined().utf8) else { throw damage }
        var reader = WireReader(bytes)
        guard reader.bytes(6) == Array("SSHSIG".utf8), let version = reader.uint32() else { throw damage }
        guard version == 1 else { throw Refusal(reason: "has a signature of version \(version), and only 1 is known") }
        guard let blob = reader.string(), let key = PublicKey(blob: blob), let namespace = reader.text(), let reserved = reader.string(),
            let hash = reader.text(), let inner = reader.string(), reader.isAtEnd
        else { throw damage }
        var signature = WireReader(inner)
        guard let algorithm = signature.text(), let raw = signature.string() else { throw damage }
        guard signature.isAtEnd || key.isSecurityKey else { throw damage }
        (self.key, self.namespace, self.reserved, self.hash, self.algorithm, self.signature) = (key, namespace, reserved, hash, algorithm, raw)
    }

    /// Checks that the key in it has signed these bytes, in this namespace. Whose key it is, is another question.
    func check(_ payload: [UInt8], namespace expected: String) throws(Refusal) {
        guard namespace == expected else { throw Refusal(reason: "is signed for '\(namespace.quotable(limit: 40))', not for '\(expected)'") }
        guard !key.isCertificate else { throw Refusal(reason: "is signed with a certificate, which is not supported; sign with a plain key") }
        guard !key.isSecurityKey else {
            throw Refusal(reason: "is signed with a key on a hardware token (\(key.type)), which is not supported; sign with another kind of key")
        }
        let digest: [UInt8]
        switch hash {
        case "sha256": digest = Array(SHA256.hash(data: payload))
        case "sha512": digest = Array(SHA512.hash(data: payload))
        default: throw Refusal(reason: "is signed over the hash '\(hash.quotable(limit: 40))', which is not known")
        }
        var message = WireWriter()
        message.raw("SSHSIG".utf8)
        message.string(Array(namespace.utf8))
        message.string(reserved)
        message.string(Array(hash.utf8))
        message.string(digest)
        guard try isValid(message.bytes) else { throw Refusal(reason: "has a signature that does not fit: it was changed after it was signed") }
    }

    private func isValid(_ message: [UInt8]) throws(Refusal) -> Bool {
        var reader = WireReader(key.blob)
        guard reader.text() == key.type else { return false }
        switch key.type {
        case "ssh-ed25519":
            guard algorithm == key.type, let point = reader.string(), let key = try? Curve25519.Signing.PublicKey(rawRepresentation: point) else {
                return false
            }
            return key.isValidSignature(signature, for: message)
        case "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521":
            guard algorithm == key.type, let curve = reader.text(), key.type.hasSuffix(curve), let point = reader.string() else { return false }
            var parts = WireReader(signature)
            guard let r = parts.string(), let s = parts.string(), parts.isAtEnd else { return false }
            func raw(_ size: Int) -> [UInt8]? {
                var result: [UInt8] = []
                for part in [r, s] {
                    let digits = part.drop { $0 == 0 }
                    guard digits.count <= size else { return nil }
                    result += Array(repeating: 0, count: size - digits.count) + digits
                }
                return result
            }
            switch curve {
            case "nistp256":
                guard let raw = raw(32), let key = try? P256.Signing.PublicKey(x963Representation: point),
                    let signature = try? P256.Signing.ECDSASignature(rawRepresentation: raw)
                else { return false }
                return key.isValidSignature(signature, for: message)
            case "nistp384":
                guard let raw = raw(48), let key = try? P384.Signing.PublicKey(x963Representation: point),
                    let signature = try? P384.Signing.ECDSASignature(rawRepresentation: raw)
                else { return false }
                return key.isValidSignature(signature, for: message)
            default:
                guard let raw = raw(66), let key = try? P521.Signing.PublicKey(x963Representation: point),
                    let signature = try? P521.Signing.ECDSASignature(rawRepresentation: raw)
                else { return false }
                return key.isValidSignature(signature, for: message)
            }
        case "ssh-rsa":
            guard let exponent = reader.string(), let modulus = reader.string() else { return false }
            let n = Array(modulus.drop { $0 == 0 })
            guard n.count <= 2048, let key = try? _RSA.Signing.PublicKey(n: n, e: Array(exponent.drop { $0 == 0 })) else {
                throw Refusal(reason: "is signed with an RSA key of fewer than 2048 bits, or of an odd kind")
            }
            let signature = _RSA.Signing.RSASignature(
                rawRepresentation: Array(repeating: UInt8(0), count: max(0, n.count - signature.count)) + signature
            )
            switch algorithm {
            case "rsa-sha2-512": return key.isValidSignature(signature, for: SHA512.hash(data: message), padding: .insecurePKCS1v1_5)
            case "rsa-sha2-256": return key.isValidSignature(signature, for: SHA256.hash(data: message), padding: .insecurePKCS1v1_5)
            default: throw Refusal(reason: "is signed with '\(algorithm.quotable(limit: 40))'; RSA counts with SHA-2 only")
            }
        default:
            throw Refusal(reason: "is signed with a key of the type '\(key.type)', which is not supported")
        }
    }
}
