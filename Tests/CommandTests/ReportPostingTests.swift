import Foundation
import Testing
import Values

/// `plumb report --forge`: against a server on loopback that answers as Gitea does. What each forge's API takes is tested in ForgeTests.
@Suite struct ReportPostingTests {
    private static let double = """
        import http.server, json, sys
        sha, state = sys.argv[1], {"comments": [], "log": []}
        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, status, value):
                body = json.dumps(value).encode()
                self.send_response(status); self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
            def body(self):
                return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"null")
            def handle_request(self):
                path = self.path.split("?")[0].removeprefix("/api/v1")
                value = self.body() if self.command != "GET" else None
                state["log"].append([self.command, path, value, self.headers.get("Authorization")])
                open(sys.argv[2], "w").write(json.dumps(state))
                repository = {"id": 1, "full_name": "o/r", "private": True}
                if self.headers.get("Authorization") != "token s3cret": return self.answer(401, {"message": "no"})
                if path == "/user": return self.answer(200, {"id": 9, "login": "bot"})
                if path == "/repos/o/r": return self.answer(200, repository)
                if path == "/repos/o/r/pulls/7":
                    return self.answer(200, {"number": 7, "state": "open", "user": {"id": 2, "login": "ann"},
                        "head": {"ref": "feature", "sha": sha, "repo": repository}, "base": {"ref": "main", "sha": sha, "repo": repository}})
                if path == "/repos/o/r/collaborators/ann/permission": return self.answer(200, {"permission": "write"})
                if path == "/repos/o/r/issues/7/comments" and self.command == "POST":
                    comment = {"id": len(state["comments"]) + 1, "body": value["body"], "user": {"id": 9, "login": "bot"}}
                    state["comments"].append(comment)
                    return self.answer(201, comment)
                if path == "/repos/o/r/issues/7/comments": return self.answer(200, state["comments"])
                if path.startswith("/repos/o/r/issues/comments/") and self.command == "PATCH":
                    state["comments"][0]["body"] = value["body"]
                    return self.answer(200, state["comments"][0])
                if "/statuses" in path: return self.answer(201 if self.command == "POST" else 200, {} if self.command == "POST" else [])
                self.answer(404, {"message": "none"})
            do_GET = do_POST = do_PATCH = handle_request
            def log_message(self, *a): pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        print(server.server_port, flush=True)
        server.serve_forever()
        """

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
        let server = try Background(["/usr/bin/env", "python3", "-c", Self.double, head, log])
        #expect(try await server.waits { $0.output.hasSuffix("\n") })
        let url = "http://127.0.0.1:\(server.output.trimmingCharacters(in: .whitespacesAndNewlines))"
        func report(_ token: String = "s3cret") async throws -> Outcome {
            let arguments = [plumb, "report", folder, "--forge", "gitea", "--pull-request", "7", "--repository", "o/r", "--forge-url", url]
            return try await run(arguments, environment: ["PLUMB_FORGE_TOKEN": token, "XDG_STATE_HOME": "\(folder)/none"])
        }
        func requests(_ method: String) throws -> [Value] {
            let state = try Value(json: Data(contentsOf: URL(fileURLWithPath: log)))
            return (state["log"]?.arrayValue ?? []).filter { $0.arrayValue?.first?.stringValue == method }
        }

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
