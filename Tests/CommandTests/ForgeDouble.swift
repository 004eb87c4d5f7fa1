import Foundation
import Testing
import Values

/// `Tests/Lab/forge`, a server on loopback that answers as Gitea does, and as GitHub does to an App, for the repository `o/r`. What each forge's API takes
/// is tested in ForgeTests.
final class ForgeDouble {
    let url: String
    private let process: Background

    init() async throws {
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        process = try Background([tests.appendingPathComponent("Lab/forge").path])
        try #require(try await process.waits { $0.output.contains("\n") }, "\(process.errorOutput)")
        // Further lines say what was sent.
        url = "http://127.0.0.1:\(process.output.prefix { $0.isNumber })"
    }

    struct Request: CustomStringConvertible {
        var method: String
        var path: String
        var body: Value?
        /// Milliseconds since 1970.
        var time: Int64
        var description: String { "\(method) \(path)" }
    }

    /// Changes what it answers.
    @discardableResult
    func control(_ changes: Value = [:]) async throws -> Value {
        let outcome = try await run([
            "curl", "--silent", "--fail", "--max-time", "10", "--header", "Content-Type: application/json", "--data-binary", changes.exposedJSON,
            "\(url)/control",
        ])
        return try outcome.document
    }

    /// - Parameter pulls: By number: `head`, and what differs from a request of Ann's own branch `feature` for `main`.
    func open(_ pulls: [Int: Value]) async throws {
        try await control(["pulls": .object(Dictionary(uniqueKeysWithValues: pulls.map { ("\($0.key)", $0.value) }))])
    }

    var requests: [Request] {
        get async throws {
            (try await control()["log"]?.arrayValue ?? []).map { entry in
                let parts = entry.arrayValue ?? []
                return Request(
                    method: parts[0].stringValue ?? "",
                    path: parts[1].stringValue ?? "",
                    body: parts[2],
                    time: parts[3].intValue ?? 0
                )
            }
        }
    }

    /// What was written.
    var writes: [Request] { get async throws { try await requests.filter { $0.method != "GET" } } }

    /// The comment at a pull request; nil: none or several.
    func comment(_ number: Int) async throws -> String? {
        let found = (try await control()["comments"]?.arrayValue ?? []).filter { $0["issue"]?.intValue == Int64(number) }
        return found.count == 1 ? found[0]["body"]?.stringValue : nil
    }

    var issues: [Value] { get async throws { try await control()["issues"]?.arrayValue ?? [] } }

    /// The last status of a commit: `success: 1 change`.
    func status(_ commit: String) async throws -> String? {
        let last = try await requests.last { $0.path == "/repos/o/r/statuses/\(commit)" }
        return last.map { "\($0.body?["state"]?.stringValue ?? ""): \($0.body?["description"]?.stringValue ?? "")" }
    }
}
