internal import Foundation
internal import SpecSources

/// What the process that reads a repository is asked, as JSON on its stdin.
struct ReadRequest: Codable, Sendable {
    var url: String
    var revision: String?
    /// As `GitLocation.folder`.
    var path: String
    var known: String?
    var expecting: String?
    var last: String?
    var into: String?
    var allowedSigners: String?
    /// The folder of this repository's cache; unused for `file://`.
    var cache: String
    var tokenFile: String?
    var authorityFile: String?
    var ssh: GitOptions.SSH
    var limits: GitLimits
    var mayAsk: Bool
    /// Seconds until it is killed.
    var timeout: Double
}

/// What it answers.
enum ReadAnswer: Codable, Sendable {
    case failed(GitFailure)
    case unchanged(commit: String)
    /// The files' bytes follow, one after the other.
    case read(Tree)

    struct Tree: Codable, Sendable {
        struct File: Codable, Sendable {
            var path: String
            var relativePath: String
            var count: Int
        }

        var commit: String
        var ref: String?
        var files: [File]
        var problems: [SourceProblem]
        var notes: [String]
        var join: GitJoin?
    }
}

/// The parts that an answer comes in: a kind, a length of four bytes, and that many bytes.
enum Frame: UInt8 {
    /// What is being done, in words.
    case progress = 1
    /// A `ReadAnswer`.
    case answer = 2
    /// Bytes of files.
    case contents = 3
    /// The last one.
    case end = 4

    static func encode(_ kind: Frame, _ payload: some Collection<UInt8>) -> [UInt8] {
        [kind.rawValue] + (0..<4).map { UInt8(truncatingIfNeeded: payload.count >> (24 - 8 * $0)) } + payload
    }
}

/// Puts an answer together from what comes through the pipe, and believes none of it further than it has to.
struct AnswerReader {
    private let limits: SourceLimits
    private var buffer: [UInt8] = []
    private var answer: ReadAnswer?
    private var contents: [UInt8] = []
    private var expected = 0
    private var isComplete = false
    /// What the process said last that it is doing.
    private(set) var progress = ""

    static let headerLimit = 32 << 20
    static let chunk = 1 << 20

    init(limits: SourceLimits) { self.limits = limits }

    struct Damage: Error { var reason: String }

    mutating func feed(_ bytes: some Sequence<UInt8>) throws(Damage) {
        buffer += bytes
        while buffer.count >= 5 {
            guard !isComplete, let kind = Frame(rawValue: buffer[0]) else { throw Damage(reason: "it says something that is no answer") }
            let length = buffer[1..<5].reduce(0) { $0 << 8 | Int($1) }
            let limit =
                switch kind {
                case .progress: 4096
                case .answer: Self.headerLimit
                case .contents: Self.chunk
                case .end: 0
                }
            guard length <= limit else { throw Damage(reason: "it says more than it should") }
            guard buffer.count >= 5 + length else { return }
            try take(kind, Array(buffer[5..<5 + length]))
            buffer.removeFirst(5 + length)
        }
    }

    private mutating func take(_ kind: Frame, _ payload: [UInt8]) throws(Damage) {
        switch kind {
        case .progress: progress = String(decoding: payload, as: UTF8.self)
        case .answer:
            guard answer == nil, let decoded = try? JSONDecoder().decode(ReadAnswer.self, from: Data(payload)) else {
                throw Damage(reason: "its answer can't be read")
            }
            answer = decoded
            guard case .read(let tree) = decoded else { return }
            guard tree.files.count <= limits.files, Advertisement.isCommit(tree.commit) else { throw Damage(reason: "its answer can't be right") }
            for file in tree.files {
                guard (0...limits.fileBytes).contains(file.count), expected + file.count <= limits.totalBytes else {
                    throw Damage(reason: "its answer can't be right")
                }
                expected += file.count
            }
        case .contents:
            guard contents.count + payload.count <= expected else { throw Damage(reason: "it says more than it announced") }
            contents += payload
        case .end: isComplete = true
        }
    }

    /// The whole answer; nil where it broke off.
    func result() -> Result<GitReading, GitFailure>? {
        guard isComplete, let answer, contents.count == expected else { return nil }
        switch answer {
        case .failed(let failure): return .failure(failure)
        case .unchanged(let commit): return .success(.unchanged(commit: commit))
        case .read(let tree):
            var start = 0
            let files = tree.files.map { file in
                defer { start += file.count }
                return SourceFile(path: file.path, relativePath: file.relativePath, bytes: Array(contents[start..<start + file.count]))
            }
            let (problems, notes) = (tree.problems, tree.notes)
            return .success(.read(GitTree(commit: tree.commit, ref: tree.ref, files: files, problems: problems, notes: notes, join: tree.join)))
        }
    }
}
