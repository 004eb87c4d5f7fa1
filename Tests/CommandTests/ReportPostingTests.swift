import Foundation
import Testing
import Values

/// `plumb report --forge` against `Tests/Lab/forge`. What each forge's API takes is tested in ForgeTests.
@Suite struct ReportPostingTests {
    @Test func isOneCommentUpdatedInPlaceAndOneStatus() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-posting-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        func git(_ arguments: String...) async throws -> String {
            let outcome = try await run(["git", "-C", folder, "-c", "user.name=n", "-c", "user.email=n@example.org"] + arguments)
            #expect(outcome.status == 0, "\(outcome.errorOutput)")
            return outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
        }
        func commit(_ text: String) async throws -> String {
            try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/hosts.yaml"))
            _ = try await git("add", ".")
            _ = try await git("commit", "-qm", "specs")
            return try await git("rev-parse", "HEAD")
        }
        let hosts = "apiVersion: plumb/v1\nkind: HostList\nmetadata: {name: a}\nspec: {hosts: {pi-1: {}}}\n"
        _ = try await git("init", "-q", "-b", "main")
        _ = try await commit(hosts)
        _ = try await git("checkout", "-qb", "feature")
        let head = try await commit(hosts + "---\napiVersion: plumb/v1\nkind: NetworkInterfac\nmetadata: {name: x}\nspec: {}\n")

        let log = "\(folder).log"
        defer { try? FileManager.default.removeItem(atPath: log) }
        let server = try await ForgeOnLoopback(head: head, log: log)
        let url = server.url
        func report(_ token: String = "s3cret") async throws -> Outcome {
            let arguments = [plumb, "report", folder, "--forge", "gitea", "--pull-request", "7", "--repository", "o/r", "--forge-url", url]
            return try await run(arguments, environment: ["PLUMB_FORGE_TOKEN": token, "XDG_STATE_HOME": "\(folder)/none"])
        }
        func requests(_ method: String) throws -> [Value] { try server.requests(method) }

        let first = try await report()
        #expect(first.errorOutput.contains("Gitea, pull request 7: comment created"), "\(first.errorOutput)")
        #expect(first.output.contains("hosts.yaml"), "\(first.output)")
        let posts = try requests("POST")
        #expect(posts.count == 2)
        #expect(posts.first?.arrayValue?[2]["body"]?.stringValue?.contains("NetworkInterfac") == true)
        #expect(posts.last?.arrayValue?[1].stringValue == "/repos/o/r/statuses/\(head)")
        #expect(posts.last?.arrayValue?[2]["state"]?.stringValue == "failure")
        #expect(posts.last?.arrayValue?[2]["context"]?.stringValue == "plumb/plan")

        // The same again, but for the time: nothing is said twice.
        let second = try await report()
        #expect(second.errorOutput.contains("comment unchanged"), "\(second.errorOutput)")
        #expect(try requests("POST").count { $0.arrayValue?[1].stringValue?.hasSuffix("/comments") == true } == 1)
        #expect(try requests("PATCH").isEmpty)

        let refused = try await report("wrong")
        #expect(refused.status == 1)
        #expect(refused.errorOutput.contains("the report was not posted"), "\(refused.errorOutput)")
        #expect(!"\(refused.errorOutput)\(refused.output)".contains("wrong"))
    }
}

/// `Tests/Lab/forge`, for one test.
final class ForgeOnLoopback {
    let url: String
    private let log: String
    private let server: Background

    /// - Parameter log: A file of the test's.
    init(head: String, log: String) async throws {
        self.log = log
        let program = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Lab/forge")
        server = try Background([program.path, head, log])
        try #require(try await server.waits { $0.output.contains("\n") }, "\(server.errorOutput)")
        url = "http://127.0.0.1:\(server.output.prefix { $0.isNumber })"
    }

    var state: Value { get throws { try Value(json: Data(contentsOf: URL(fileURLWithPath: log))) } }

    var issues: [Value] { get throws { try state["issues"]?.arrayValue ?? [] } }

    /// Every request with this method, as `[METHOD, PATH, BODY, AUTHORIZATION]`.
    func requests(_ method: String) throws -> [Value] {
        try (state["log"]?.arrayValue ?? []).filter { $0.arrayValue?.first?.stringValue == method }
    }
}
