import Foundation
import Testing
import Values

/// `plumb report --forge`: against a server on loopback that answers as Gitea does. What each forge's API takes is tested in ForgeTests.
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

        let forge = try await ForgeDouble()
        try await forge.control(["pulls": ["7": ["head": .string(head)]], "permissions": ["ann": "write"]])
        func report(_ token: String = "s3cret") async throws -> Outcome {
            let arguments = [plumb, "report", folder, "--forge", "gitea", "--pull-request", "7", "--repository", "o/r", "--forge-url", forge.url]
            return try await run(arguments, environment: ["PLUMB_FORGE_TOKEN": token, "XDG_STATE_HOME": "\(folder)/none"])
        }
        let first = try await report()
        #expect(first.errorOutput.contains("Gitea, pull request 7: comment created"), "\(first.errorOutput)")
        #expect(first.output.contains("hosts.yaml"), "\(first.output)")
        let writes = try await forge.writes
        #expect(writes.map(\.description) == ["POST /repos/o/r/issues/7/comments", "POST /repos/o/r/statuses/\(head)"])
        #expect(writes.first?.body?["body"]?.stringValue?.contains("NetworkInterfac") == true)
        #expect(writes.last?.body?["state"] == "failure" && writes.last?.body?["context"] == "plumb/plan")

        // The same again, but for the time: nothing is said twice.
        let second = try await report()
        #expect(second.errorOutput.contains("comment unchanged"), "\(second.errorOutput)")
        let more = try await forge.writes
        #expect(more.map(\.description) == writes.map(\.description))

        let refused = try await report("wrong")
        #expect(refused.status == 1)
        #expect(refused.errorOutput.contains("the report was not posted"), "\(refused.errorOutput)")
        #expect(!"\(refused.errorOutput)\(refused.output)".contains("wrong"))
    }

    @Test func anAppShowsMistakesAtTheirLines() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-app-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        func shell(_ script: String) async throws -> String {
            let outcome = try await run(["sh", "-ec", script], environment: ["HOME": folder, "GIT_CONFIG_NOSYSTEM": "1"], folder: folder)
            #expect(outcome.status == 0, "\(outcome.errorOutput)")
            return outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
        }
        let head = try await shell(
            """
            git init -q -b main specs; cd specs; git config user.name n; git config user.email n@example.org
            printf 'apiVersion: plumb/v1\\nkind: HostList\\nmetadata: {name: a}\\nspec: {hosts: {pi-1: {}}}\\n' >hosts.yaml
            git add .; git commit -qm a; git checkout -qb feature
            printf -- '---\\napiVersion: plumb/v1\\nkind: Hots\\nmetadata: {name: x}\\n' >>hosts.yaml
            git commit -qam b; git rev-parse HEAD
            """
        )
        _ = try await shell("openssl genrsa -traditional -out key.pem 2048")
        let forge = try await ForgeDouble()
        try await forge.control(["pulls": ["7": ["head": .string(head)]], "permissions": ["ann": "write"]])
        let arguments = [
            plumb, "report", "\(folder)/specs", "--forge", "github", "--pull-request", "7", "--repository", "o/r", "--forge-url", forge.url,
            "--app-id",
            "12", "--app-key", "\(folder)/key.pem",
        ]
        let outcome = try await run(arguments, environment: ["XDG_STATE_HOME": "\(folder)/none"])
        #expect(outcome.errorOutput.contains("GitHub, pull request 7: comment created"), "\(outcome.errorOutput)")
        let writes = try await forge.writes
        #expect(
            writes.map(\.path) == [
                "/app/installations/34/access_tokens", "/repos/o/r/issues/7/comments", "/repos/o/r/statuses/\(head)", "/repos/o/r/check-runs",
            ]
        )
        let check = writes.last?.body
        #expect(check?["conclusion"] == "failure" && check?["head_sha"] == .string(head) && check?["name"] == "plumb/specs")
        let annotation = check?[path: "output", "annotations"]?.arrayValue?.first
        #expect(annotation?["path"] == "hosts.yaml" && annotation?["start_line"] == 7, "\(writes)")
        #expect(annotation?["message"]?.stringValue?.contains("unknown kind 'Hots'") == true)
    }

    @Test(arguments: [
        ["--app-id", "1"], ["--app-key", "/k"], ["--installation", "1"], ["--app-id", "1", "--app-key", "/k", "--forge-token-file", "/t"],
    ])
    func anAppIsGivenAsAWhole(arguments: [String]) async throws {
        let outcome = try await run([plumb, "report", "--forge", "github", "--pull-request", "1", "--repository", "o/r"] + arguments)
        #expect(outcome.status == 64, "\(outcome.errorOutput)")
    }
}
