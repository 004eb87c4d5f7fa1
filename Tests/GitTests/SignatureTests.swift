import Foundation
import Testing

@testable import Git
@testable import SSH

/// Signatures made by the real ssh-keygen and the real git.
struct SignatureTests {
    private static let kinds: [(String, String?)] = [
        ("ed25519", nil), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "2048"), ("rsa", "3072"),
    ]

    private func sign(_ shop: Workshop, _ text: String, key: String, namespace: String = "git", hash: String = "sha512") async throws -> String {
        try shop.write("message", text)
        try await shop.run("sh", "-c", "rm -f message.sig; ssh-keygen -q -Y sign -n \(namespace) -O hashalg=\(hash) -f \(key) message")
        return try String(contentsOfFile: "\(shop.folder)/message.sig", encoding: .utf8)
    }

    @Test(arguments: kinds)
    func checksEachKindOfKey(type: String, bits: String?) async throws {
        let shop = try Workshop()
        let key = try await shop.key("k", type, bits)
        for hash in ["sha256", "sha512"] {
            let signature = try SSHSignature(armored: try await sign(shop, "hello", key: "k", hash: hash))
            #expect(signature.key == PublicKey(text: key))
            try signature.check(Array("hello".utf8), namespace: "git")
            #expect(throws: SSHSignature.Refusal.self) { try signature.check(Array("hellp".utf8), namespace: "git") }
            #expect(throws: SSHSignature.Refusal.self) { try signature.check(Array("hello".utf8), namespace: "file") }
        }
    }

    /// No bit of a signature can be another one; what armor ignores excepted.
    @Test(arguments: [("ed25519", nil), ("ecdsa", "256"), ("rsa", "2048")])
    func everyBitCounts(type: String, bits: String?) async throws {
        let shop = try Workshop()
        _ = try await shop.key("k", type, bits)
        let armored = try await sign(shop, "hello", key: "k")
        let body = armored.split(separator: "\n").filter { !$0.hasPrefix("-----") }.joined()
        let bytes = try #require(Base64.decode(body.utf8))
        for index in bytes.indices {
            var changed = bytes
            changed[index] ^= UInt8(1 << (index % 8))
            let text = "-----BEGIN SSH SIGNATURE-----\n\(Base64.encode(changed))\n-----END SSH SIGNATURE-----\n"
            #expect(throws: SSHSignature.Refusal.self, "byte \(index)") {
                let signature = try SSHSignature(armored: text)
                // Another key that fits would be nobody's.
                guard signature.key == (try? SSHSignature(armored: armored))?.key else { throw SSHSignature.Refusal(reason: "another key") }
                try signature.check(Array("hello".utf8), namespace: "git")
            }
        }
        for count in 0..<bytes.count {
            let text = "-----BEGIN SSH SIGNATURE-----\n\(Base64.encode(bytes.prefix(count)))\n-----END SSH SIGNATURE-----\n"
            #expect(throws: SSHSignature.Refusal.self) { try SSHSignature(armored: text) }
        }
    }

    @Test func otherArmorIsRefused() {
        for text in [
            "", "x", "-----BEGIN PGP SIGNATURE-----\nx\n-----END PGP SIGNATURE-----", "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----",
        ] {
            #expect(throws: SSHSignature.Refusal.self) { try SSHSignature(armored: text) }
        }
    }

    /// What is not supported is said by name, before anything of it is believed.
    @Test(arguments: [
        ("sk-ssh-ed25519@openssh.com", "sk-ssh-ed25519@openssh.com", "sha512", "hardware token"),
        ("ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519", "sha512", "certificate"), ("ssh-dss", "ssh-dss", "sha512", "type 'ssh-dss'"),
        ("ssh-ed25519", "ssh-ed25519", "sha1", "hash 'sha1'"), ("ssh-ed25519", "ssh-rsa", "sha512", "does not fit"),
    ])
    func whatIsNotSupportedIsNamed(type: String, algorithm: String, hash: String, words: String) throws {
        var key = WireWriter()
        key.string(Array(type.utf8))
        key.string(Array(repeating: UInt8(1), count: 32))
        var signature = WireWriter()
        signature.string(Array(algorithm.utf8))
        signature.string(Array(repeating: UInt8(2), count: 64))
        var whole = WireWriter()
        whole.raw("SSHSIG".utf8)
        whole.uint32(1)
        for part in [key.bytes, Array("git".utf8), [], Array(hash.utf8), signature.bytes] { whole.string(part) }
        let text = "-----BEGIN SSH SIGNATURE-----\n\(Base64.encode(whole.bytes))\n-----END SSH SIGNATURE-----\n"
        let parsed = try SSHSignature(armored: text)
        let refusal = #expect(throws: SSHSignature.Refusal.self) { try parsed.check([], namespace: "git") }
        #expect(refusal?.reason.contains(words) == true, "\(String(describing: refusal))")
    }

    @Test func takesACommitApartAsGitDoes() {
        let text = "tree 1\ncommitter A <a@b> 1700000000 +0100\ngpgsig one\n two\n three\nencoding x\n\nmessage\ngpgsig no\n"
        let commit = SignedObject(commit: Array(text.utf8))
        #expect(commit?.signature == "one\ntwo\nthree\n" && commit?.time == 1_700_000_000)
        #expect(commit.map { String(decoding: $0.payload, as: UTF8.self) } == text.replacing("gpgsig one\n two\n three\n", with: ""))
        // In a merged tag it is that tag's, and twice it is nobody's.
        #expect(SignedObject(commit: Array("tree 1\nmergetag object 1\n gpgsig x\n\nm".utf8))?.signature == nil)
        #expect(SignedObject(commit: Array("tree 1\ngpgsig a\ngpgsig b\n\nm".utf8)) == nil)
        #expect(SignedObject(commit: Array("tree 1\ngpgsig-sha256 a\n\nm".utf8)) == nil)
        #expect(SignedObject(commit: Array("no end".utf8)) == nil)
        let tag = SignedObject(tag: Array("object 1\ntag v1\ntagger A <a@b> 5 +0000\n\nm\n-----BEGIN SSH SIGNATURE-----\nx\n".utf8))
        #expect(tag?.tagName == "v1" && tag?.time == 5 && tag?.signature == "-----BEGIN SSH SIGNATURE-----\nx\n")
        #expect(tag.map { String(decoding: $0.payload, as: UTF8.self) } == "object 1\ntag v1\ntagger A <a@b> 5 +0000\n\nm\n")
    }

    // MARK: Allowed signers

    private static let one = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKe8rmwnIUmxIQ4Cz8gR7kyiPMGjHH0FSZe1sFLv8QAa"
    private static let two = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPj1JxEEvX1bBz4OrgNPvTdz8ZdoEWnm9vaK9CEl6gwW"

    @Test(arguments: [
        ("ann@x \(one)", 0, true), ("ann@x,bob@* \(one) comment words", 0, true), ("\"a b\" \(one)", 0, true), ("ann@x \(two)", 0, false),
        ("", 0, false),
        ("# ann@x \(one)", 0, false), ("ann@x namespaces=\"git\" \(one)", 0, true), ("ann@x namespaces=\"file,g?t\" \(one)", 0, true),
        ("ann@x namespaces=\"file\" \(one)", 0, false), ("ann@x namespaces=\"*,!git\" \(one)", 0, false), ("ann@x cert-authority \(one)", 0, false),
        ("ann@x valid-after=\"20240101Z\" \(one)", 1_704_067_199, false), ("ann@x valid-after=\"20240101Z\" \(one)", 1_704_067_200, true),
        ("ann@x valid-before=\"20240101000000Z\" \(one)", 1_704_067_199, true), ("ann@x valid-before=\"202401010000Z\" \(one)", 1_704_067_200, false),
        ("ann@x valid-after=\"20230101Z\",valid-before=\"20240101Z\",namespaces=\"git\" \(one)", 1_700_000_000, true),
        ("ann@x valid-before=\"20240101Z\" \(one)\nann@y \(one)", 1_800_000_000, true),
    ])
    func saysWhoMaySign(text: String, time: Double, isAllowed: Bool) throws {
        let key = try #require(PublicKey(text: Self.one))
        let answer = try AllowedSigners(text).principals(of: key, namespace: "git", at: Date(timeIntervalSince1970: time))
        #expect(((try? answer.get()) != nil) == isAllowed, "\(answer)")
    }

    @Test(arguments: [
        "ann@x", "ann@x ssh-ed25519", "ann@x ssh-ed25519 AAAA", "ann@x nonsense \(one)", "ann@x namespaces=git \(one)",
        "ann@x valid-after=\"2024\" \(one)",
        "ann@x valid-after=\"20241332Z\" \(one)", "ann@x valid-after=\"20240101Z\",valid-after=\"20240101Z\" \(one)", "ann@x namespaces=\"\" \(one)",
        "\"ann@x \(one)", "ann@x valid-after=\"20250101Z\",valid-before=\"20240101Z\" \(one)", "ann@x cert-authority, \(one)",
    ])
    func aLineThatCantBeReadMakesAllInvalid(line: String) {
        let mistake = #expect(throws: AllowedSigners.Mistake.self) { try AllowedSigners("ann@x \(Self.one)\n\(line)\n") }
        #expect(mistake?.line == 2)
    }

    // MARK: Commits and tags

    @Test func takesOnlyWhatIsSignedByThoseAllowed() async throws {
        let shop = try Workshop()
        let ann = try await shop.key("ann")
        let bob = try await shop.key("bob")
        try shop.write("signers", "ann@example.org namespaces=\"git\" \(ann)\n")
        let unsigned = try await shop.repository()
        let location = GitLocation(url: shop.url())
        func refused(_ location: GitLocation = location, signers: String = "signers", last: String? = nil) async -> String {
            let failure = await failure { () async throws(GitFailure) in try await shop.read(location, signers: signers, last: last) }
            #expect(failure?.cause == .refused)
            return failure?.message ?? ""
        }
        #expect(await refused().contains("\(unsigned.prefix(12)) is not signed"))

        let signed = try await shop.push("specs", ["state/a.yaml": "signed"], "-S\(shop.folder)/ann")
        let tree = try await shop.read(location, signers: "signers").tree
        #expect(tree?.commit == signed && tree?.texts == ["state/a.yaml=signed"])
        #expect(tree?.notes == ["\(signed.prefix(12)) is signed by ann@example.org"])

        // What descends from it and is not signed; another's signature; a signature that was put on something else.
        try await shop.push("specs", ["state/a.yaml": "more"])
        #expect(await refused(last: signed).contains("is not signed"))
        try await shop.push("specs", ["state/a.yaml": "bob"], "-S\(shop.folder)/bob")
        #expect(await refused(last: signed).contains("is not among the allowed signers"))
        let raw = try await shop.run("git", "-C", "specs", "cat-file", "commit", signed)
        let forged = raw.replacing("\n\nchange", with: "\n\nforged") + "\n"
        let object = try await shop.run("git", "-C", "specs", "hash-object", "-t", "commit", "-w", "--stdin", input: forged)
        try await shop.run("git", "-C", "specs", "push", "-q", "origin", "\(object):refs/heads/forged")
        #expect(await refused(GitLocation(url: shop.url(), revision: "forged")).contains("does not fit"))

        // Signed, and going back: that is how somebody undoes what was mended.
        try await shop.run("git", "-C", "specs", "push", "-q", "--force", "origin", "\(signed):refs/heads/main")
        #expect(await refused(last: try await shop.run("git", "-C", "specs", "rev-parse", "HEAD")).contains("force-pushed"))

        try shop.write("broken", "ann@example.org \(ann)\nnonsense\n")
        #expect(await refused(signers: "broken").contains("line 2"))
        #expect(await refused(signers: "nowhere").contains("can't be read"))
        try await shop.run("chmod", "o+w", "signers")
        #expect(await refused().contains("can be written by everybody"))
        _ = bob
    }

    @Test func takesSignedTagsUnderTheirOwnName() async throws {
        let shop = try Workshop()
        let ann = try await shop.key("ann")
        try shop.write("signers", "ann@example.org \(ann)\n")
        let commit = try await shop.repository()
        try await shop.run("git", "-C", "specs", "-c", "user.signingkey=\(shop.folder)/ann", "tag", "-s", "-m", "one", "v1")
        try await shop.run("git", "-C", "specs", "tag", "-a", "-m", "plain", "plain")
        try await shop.run("git", "-C", "specs", "push", "-q", "origin", "v1", "plain", "v1:refs/tags/v2")
        let tree = try await shop.read(GitLocation(url: shop.url(), revision: "v1"), signers: "signers").tree
        #expect(tree?.commit == commit && tree?.notes == ["the tag 'v1' is signed by ann@example.org"])
        for (name, words) in [("v2", "is the tag 'v1' under another name"), ("plain", "the tag 'plain' is not signed")] {
            let refused = await failure { () async throws(GitFailure) in
                try await shop.read(GitLocation(url: shop.url(), revision: name), signers: "signers")
            }
            #expect(refused?.cause == .refused && refused?.message.contains(words) == true, "\(String(describing: refused))")
        }
    }

    @Test(arguments: kinds)
    func gitsOwnSignaturesCount(type: String, bits: String?) async throws {
        let shop = try Workshop()
        try shop.write("signers", "ann@example.org \(try await shop.key("ann", type, bits))\n")
        try await shop.repository()
        let signed = try await shop.push("specs", ["state/a.yaml": "b"], "-S\(shop.folder)/ann")
        #expect(try await shop.read(GitLocation(url: shop.url()), signers: "signers").tree?.commit == signed)
    }
}
