import Testing

@testable import SSH

struct KnownHostsTests {
    // Made with ssh-keygen for these tests; their private halves are thrown away.
    static let ed = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKe8rmwnIUmxIQ4Cz8gR7kyiPMGjHH0FSZe1sFLv8QAa"
    static let ed2 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPj1JxEEvX1bBz4OrgNPvTdz8ZdoEWnm9vaK9CEl6gwW"
    static let ec =
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg="

    /// What a check came to, without the entries.
    enum Outcome: Hashable {
        case trusted
        case revoked
        case changed
        case otherType
        case authority
        case unknown

        init(_ verdict: KnownHosts.Verdict) {
            self =
                switch verdict {
                case .trusted: .trusted
                case .revoked: .revoked
                case .changed: .changed
                case .otherType: .otherType
                case .certificateAuthority: .authority
                case .unknown: .unknown
                }
        }
    }

    struct Case: CustomTestStringConvertible, Sendable {
        var name: String
        var text: String
        var host = "pi"
        var port = 22
        var key = KnownHostsTests.ed
        var outcome: Outcome
        var notes = 0
        var isAlias = false

        var testDescription: String { name }
    }

    // `ssh-keygen -H` of "pi".
    static let hashedPi = "|1|KJJpoGxHh8krGhO9pWVk/PJSi1c=|XPp541uhhKU1wdAPv/Z+KWkMmPk="

    static let cases: [Case] = [
        Case(name: "plain", text: "pi \(ed)", outcome: .trusted),
        Case(name: "comment behind", text: "pi \(ed) root@pi on its desk", outcome: .trusted),
        Case(name: "tabs", text: "pi\t\(ed.replacing(" ", with: "\t"))", outcome: .trusted),
        Case(name: "leading blanks", text: "  \t pi \(ed)", outcome: .trusted),
        Case(name: "CRLF", text: "# c\r\npi \(ed)\r\n", outcome: .trusted),
        Case(name: "CRLF with comment", text: "pi \(ed) comment\r\n", outcome: .trusted),
        Case(name: "no line feed at the end", text: "# c\n\npi \(ed)", outcome: .trusted),
        Case(name: "case of the host", text: "PI \(ed)", host: "Pi", outcome: .trusted),
        Case(name: "empty", text: "", outcome: .unknown),
        Case(name: "commented out", text: "#pi \(ed)", outcome: .unknown),
        Case(name: "other host", text: "pi2 \(ed)", outcome: .unknown),
        Case(name: "list", text: "a,pi,192.0.2.11 \(ed)", outcome: .trusted),
        Case(name: "list by address", text: "a,pi,192.0.2.11 \(ed)", host: "192.0.2.11", outcome: .trusted),
        Case(name: "IPv6", text: "2001:db8::1 \(ed)", host: "2001:db8::1", outcome: .trusted),
        Case(name: "IPv6 with port", text: "[2001:db8::1]:2222 \(ed)", host: "2001:db8::1", port: 2222, outcome: .trusted),
        Case(name: "port", text: "[pi]:2222 \(ed)", port: 2222, outcome: .trusted),
        Case(name: "other port", text: "[pi]:2222 \(ed)", port: 2223, outcome: .unknown),
        Case(name: "port given, line without, equal key", text: "pi \(ed)", port: 2222, outcome: .trusted),
        Case(name: "port given, line without, other key", text: "pi \(ed2)", port: 2222, outcome: .unknown),
        Case(name: "port 22, line with another", text: "[pi]:2222 \(ed)", outcome: .unknown),
        Case(name: "changed", text: "pi \(ed2)", outcome: .changed),
        Case(name: "changed at a port, right without", text: "[pi]:2222 \(ed2)\npi \(ed)", port: 2222, outcome: .changed),
        Case(name: "two keys of one type", text: "pi \(ed2)\npi \(ed)", outcome: .trusted),
        Case(name: "other type only", text: "pi \(ec)", outcome: .otherType),
        Case(name: "both types", text: "pi \(ec)\npi \(ed)", outcome: .trusted),
        Case(name: "star", text: "*.lan \(ed)", host: "pi.lan", outcome: .trusted),
        Case(name: "star matches nothing too", text: "pi* \(ed)", outcome: .trusted),
        Case(name: "question mark", text: "p? \(ed)", outcome: .trusted),
        Case(name: "question mark is one character", text: "pi? \(ed)", outcome: .unknown),
        Case(name: "negated", text: "*,!pi \(ed)", outcome: .unknown),
        Case(name: "negated first", text: "!pi,* \(ed)", outcome: .unknown),
        Case(name: "negation of another", text: "*,!pi2 \(ed)", outcome: .trusted),
        Case(name: "only a negation", text: "!pi2 \(ed)", outcome: .unknown),
        Case(name: "negated line, later line", text: "*,!pi \(ed2)\npi \(ed)", outcome: .trusted),
        Case(name: "revoked", text: "@revoked pi \(ed)", outcome: .revoked),
        Case(name: "revoked after trusted", text: "pi \(ed)\n@revoked * \(ed)", outcome: .revoked),
        Case(name: "revoked without port", text: "[pi]:2222 \(ed)\n@revoked pi \(ed)", port: 2222, outcome: .revoked),
        Case(name: "revoked for another host", text: "pi \(ed)\n@revoked pi2 \(ed)", outcome: .trusted),
        Case(name: "another key revoked", text: "pi \(ed)\n@revoked * \(ed2)", outcome: .trusted),
        Case(name: "authority only", text: "@cert-authority * \(ed2)", outcome: .authority),
        Case(name: "authority with the same key", text: "@cert-authority * \(ed)", outcome: .authority),
        Case(name: "authority beside a plain key", text: "@cert-authority * \(ed2)\npi \(ed)", outcome: .trusted),
        Case(name: "authority beside another key", text: "@cert-authority * \(ed)\npi \(ed2)", outcome: .changed),
        Case(name: "authority for others", text: "@cert-authority *.lan \(ed2)", outcome: .unknown),
        Case(name: "hashed", text: "\(hashedPi) \(ed)", outcome: .trusted),
        Case(name: "hashed, changed", text: "\(hashedPi) \(ed2)", outcome: .changed),
        Case(name: "hashed, other host", text: "\(hashedPi) \(ed)", host: "pi2", outcome: .unknown),
        Case(name: "hash damaged", text: "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y= \(ed)", outcome: .unknown, notes: 1),
        Case(name: "hash of another kind", text: "|2|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= \(ed)", outcome: .unknown, notes: 1),
        Case(name: "malformed lines between", text: "pi\nnonsense here\npi ssh-ed25519 !!!\npi \(ed)", outcome: .trusted, notes: 3),
        Case(name: "key cut short", text: "pi ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", outcome: .unknown, notes: 1),
        Case(name: "type and key differ", text: "pi ssh-rsa \(ed.split(separator: " ")[1])", outcome: .unknown, notes: 1),
        Case(name: "unknown marker", text: "@trusted pi \(ed)", outcome: .unknown, notes: 1),
        Case(name: "old SSH 1 key", text: "pi 2048 65537 2519083190719", outcome: .unknown, notes: 1),
        Case(name: "bytes that are no text", text: "\u{0}\u{1}\u{FFFD}\npi \(ed)", outcome: .trusted, notes: 1),
        Case(name: "alias", text: "gate \(ed)", host: "gate", port: 2222, outcome: .trusted, isAlias: true),
        Case(name: "alias takes no port", text: "[gate]:2222 \(ed)", host: "gate", port: 2222, outcome: .unknown, isAlias: true),
    ]

    @Test(arguments: cases) func `A host's key is checked as OpenSSH would`(_ test: Case) throws {
        let known = KnownHosts(test.text.utf8, file: "known_hosts")
        let key = try #require(PublicKey(text: test.key))
        let verdict = known.check(key, of: KnownHosts.Name(host: test.host, port: test.port, isAlias: test.isAlias))
        #expect(Outcome(verdict) == test.outcome)
        #expect(known.notes.count == test.notes, "\(known.notes)")
    }

    @Test func `A note says which line, and why`() {
        let known = KnownHosts("\n# c\npi ssh-ed25519\n".utf8, file: "/x/known_hosts")
        #expect(known.notes == ["/x/known_hosts:3 is not used: it is not 'HOSTS TYPE KEY'"])
    }

    @Test func `Wildcards agree with the plain definition`() {
        func plain(_ pattern: Substring, _ text: Substring) -> Bool {
            guard let first = pattern.first else { return text.isEmpty }
            if first == "*" { return plain(pattern.dropFirst(), text) || (!text.isEmpty && plain(pattern, text.dropFirst())) }
            guard let character = text.first, first == "?" || first == character else { return false }
            return plain(pattern.dropFirst(), text.dropFirst())
        }
        var generator = Seeded(7)
        for _ in 0..<5000 {
            let pattern = String((0..<Int.random(in: 0...6, using: &generator)).map { _ in "ab*?".randomElement(using: &generator) ?? "a" })
            let text = String((0..<Int.random(in: 0...7, using: &generator)).map { _ in "ab".randomElement(using: &generator) ?? "a" })
            #expect(
                KnownHosts.wildcard(Array(pattern.utf8)[...], matches: Array(text.utf8)[...]) == plain(pattern[...], text[...]),
                "\(pattern) \(text)"
            )
        }
    }

    @Test func `The types that are known are asked for, and nothing else`() throws {
        func algorithms(_ text: String, pins: [String] = []) throws -> [String] {
            let name = KnownHosts.Name(host: "pi", port: 22)
            return try HostTrust(pins: pins.compactMap { PublicKey(text: $0) }, knownHosts: KnownHosts(text.utf8, file: "k"), name: name, place: "pi")
                .algorithms()
        }
        #expect(try algorithms("").first == "ssh-ed25519")
        #expect(try algorithms("pi \(Self.ec)") == ["ecdsa-sha2-nistp256"])
        #expect(try algorithms("pi \(Self.ec)\npi \(Self.ed)") == ["ssh-ed25519", "ecdsa-sha2-nistp256"])
        #expect(try algorithms("pi \(Self.ec)", pins: [Self.ed]) == ["ssh-ed25519"])
        #expect(try algorithms("@revoked pi \(Self.ec)").count > 1)
        #expect(!Algorithms.hostKeys.contains("ssh-rsa"))
    }

    @Test func `A fingerprint is what ssh-keygen prints`() throws {
        let key = try #require(PublicKey(text: Self.ed))
        #expect(key.fingerprint.hasPrefix("SHA256:"))
        #expect(key.fingerprint.count == 50)
        #expect(key.text == Self.ed)
    }
}

/// The same sequence in every run.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
