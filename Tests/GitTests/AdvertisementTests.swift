import Foundation
import SpecSources
import Testing

@testable import Git

/// Which commit is meant, from nothing but names.
struct AdvertisementTests {
    private static let a = String(repeating: "a", count: 40)
    private static let b = String(repeating: "b", count: 40)
    private static let tag = String(repeating: "c", count: 40)

    private static let usual: Advertisement = {
        var found = Advertisement()
        found.headReference = "refs/heads/main"
        for (name, object) in [
            ("HEAD", a), ("refs/heads/main", a), ("refs/heads/other", b), ("refs/heads/same", b), ("refs/heads/v2", b), ("refs/tags/same", b),
            ("refs/tags/v1", tag), ("refs/tags/v1^{}", a), ("refs/tags/v2", tag), ("refs/tags/v2^{}", a),
        ] {
            found.add(name, object)
        }
        return found
    }()

    private static let choices: [(String?, String?, String, String)] = [
        (nil, "refs/heads/main", a, a), ("HEAD", "refs/heads/main", a, a), ("other", "refs/heads/other", b, b),
        ("refs/heads/other", "refs/heads/other", b, b),
        ("v1", "refs/tags/v1", tag, a), ("refs/tags/v2", "refs/tags/v2", tag, a), ("same", "refs/heads/same", b, b), (b, nil, b, b),
    ]

    @Test(arguments: choices)
    func chooses(revision: String?, reference: String?, object: String, commit: String) throws {
        #expect(try Self.usual.choose(revision) == Advertisement.Choice(reference: reference, object: object, commit: commit))
    }

    @Test(arguments: [
        ("v2", "is a branch and a tag"), ("nope", "no branch and no tag 'nope'"), ("refs/heads/v1", "no branch and no tag"),
        ("aaaaaaa", "no branch and no tag"),
    ])
    func saysWhatIsWrong(revision: String, words: String) {
        let failure = #expect(throws: GitFailure.self) { try Self.usual.choose(revision) }
        #expect(failure?.cause == .invalid && failure?.message.contains(words) == true)
        if revision == "aaaaaaa" { #expect(failure?.fix.contains("40 digits") == true) }
        if revision == "nope" { #expect(failure?.fix == "There are: main, other, same, v1, v2.") }
    }

    @Test func whatIsEmptyIsSaidToBeSo() {
        #expect(throws: GitFailure.self) { try Advertisement().choose(nil) }
        var unborn = Advertisement()
        unborn.headReference = "refs/heads/main"
        unborn.add("refs/heads/other", Self.b)
        let failure = #expect(throws: GitFailure.self) { try unborn.choose(nil) }
        #expect(failure?.message.contains("'refs/heads/main'") == true && failure?.fix.contains("other") == true)
    }
}

/// What comes through the pipe is believed only as far as it is whole.
struct AnswerReaderTests {
    private static let tree = ReadAnswer.Tree(
        commit: String(repeating: "a", count: 40),
        ref: nil,
        files: [.init(path: "x.yaml", relativePath: "x.yaml", count: 3), .init(path: "y.yaml", relativePath: "y.yaml", count: 0)],
        problems: [],
        notes: []
    )

    private static func frames(_ tree: ReadAnswer.Tree, contents: [UInt8]) throws -> [UInt8] {
        Frame.encode(.progress, Array("busy".utf8)) + Frame.encode(.answer, try JSONEncoder().encode(ReadAnswer.read(tree)))
            + Frame.encode(.contents, contents) + Frame.encode(.end, [])
    }

    @Test func takesAnAnswerInAnyPieces() throws {
        let bytes = try Self.frames(Self.tree, contents: [1, 2, 3])
        for size in [1, 2, 7, bytes.count] {
            var reader = AnswerReader(limits: SourceLimits())
            for start in stride(from: 0, to: bytes.count, by: size) {
                #expect(reader.result() == nil)
                try reader.feed(bytes[start...].prefix(size))
            }
            let files = try reader.result()?.get().tree?.files
            #expect(files?.map(\.bytes) == [[1, 2, 3], []])
            #expect(reader.progress == "busy")
        }
    }

    @Test func anAnswerThatBreaksOffIsNone() throws {
        let bytes = try Self.frames(Self.tree, contents: [1, 2, 3])
        for count in 0..<bytes.count {
            var reader = AnswerReader(limits: SourceLimits())
            try reader.feed(bytes.prefix(count))
            #expect(reader.result() == nil)
        }
    }

    @Test func moreThanIsAnnouncedOrAllowedIsRefused() throws {
        func feed(_ bytes: [UInt8], _ limits: SourceLimits = SourceLimits()) throws {
            var reader = AnswerReader(limits: limits)
            try reader.feed(bytes)
        }
        #expect(throws: AnswerReader.Damage.self) { try feed(Self.frames(Self.tree, contents: [1, 2, 3, 4])) }
        #expect(throws: AnswerReader.Damage.self) { try feed([9, 0, 0, 0, 0]) }
        #expect(throws: AnswerReader.Damage.self) { try feed([2, 0xff, 0xff, 0xff, 0xff]) }
        #expect(throws: AnswerReader.Damage.self) { try feed([3, 0, 0, 0, 1, 1]) }
        #expect(throws: AnswerReader.Damage.self) { try feed(Frame.encode(.answer, Array("{}".utf8))) }
        #expect(throws: AnswerReader.Damage.self) { try feed(Frame.encode(.end, []) + Frame.encode(.end, [])) }
        for count in [-1, 1 << 40] {
            var tree = Self.tree
            tree.files[0].count = count
            #expect(throws: AnswerReader.Damage.self) { try feed(Self.frames(tree, contents: [])) }
        }
        var limits = SourceLimits()
        limits.totalBytes = 2
        #expect(throws: AnswerReader.Damage.self) { try feed(Self.frames(Self.tree, contents: []), limits) }
    }
}

struct NetrcTests {
    private static let text = """
        # comment
        machine a.example login ann password one
        machine b.example
          login bob
          password two
        machine a.example login carl password three
        macdef init
        machine c.example login no password no

        machine d.example account x password four
        default login any password five
        """

    @Test(arguments: [
        ("a.example", nil, "ann", "one"), ("A.example", nil, "ann", "one"), ("b.example", nil, "bob", "two"), ("a.example", "carl", "carl", "three"),
        ("c.example", nil, "any", "five"), ("d.example", nil, "git", "four"), ("d.example", "dora", "dora", "four"),
    ])
    func findsALogin(host: String, user: String?, login: String, password: String) {
        #expect(GitCredentials.netrc(Self.text, host: host, user: user) == GitCredentials.Login(user: login, password: password))
    }

    @Test func findsNone() {
        #expect(GitCredentials.netrc("machine a login b password c", host: "x", user: nil) == nil)
        #expect(GitCredentials.netrc("machine a login b password c", host: "a", user: "x") == nil)
        #expect(GitCredentials.netrc("machine a login", host: "a", user: nil) == nil)
        #expect(GitCredentials.netrc("", host: "a", user: nil) == nil)
    }
}
