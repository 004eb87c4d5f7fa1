import Foundation
import Testing
import Values

/// A server on loopback that answers as Gitea does, and as GitHub does to an App, for the repository `o/r`. What each forge's API takes is tested in ForgeTests.
final class ForgeDouble {
    private static let program = #"""
        import http.server, json, threading, time
        lock = threading.Lock()
        state = {"pulls": {}, "comments": [], "log": [], "faults": [], "permissions": {}, "private": True}
        repository = lambda id: {"id": id, "full_name": "o/r", "private": state["private"]}
        def pull(number):
            p = state["pulls"][number]
            return {"number": int(number), "state": p.get("state", "open"), "user": {"id": 2, "login": p.get("user", "ann")},
                "head": {"ref": p.get("ref", "feature"), "sha": p["head"], "repo": repository(2 if p.get("fork") else 1)},
                "base": {"ref": p.get("base", "main"), "sha": p["head"], "repo": repository(1)}}
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def answer(self, status, value, headers={}):
                body = json.dumps(value).encode()
                self.send_response(status); self.send_header("Content-Type", "application/json")
                for name in headers: self.send_header(name, headers[name])
                self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
            def handle_request(self):
                length = int(self.headers.get("Content-Length", 0))
                value = json.loads(self.rfile.read(length)) if length else None
                with lock: status, result, headers = self.result(value)
                # Nothing is ever said, as far as anybody waits.
                if status == 0: return time.sleep(3600)
                self.answer(status, result, headers)
            def result(self, value):
                path = self.path.split("?")[0].removeprefix("/api/v1").removeprefix("/api/v3")
                if path == "/control":
                    state.update(value or {})
                    return 200, state, {}
                state["log"].append([self.command, path, value, int(time.time() * 1000)])
                for fault in state["faults"]:
                    if fault.get("count", 1) > 0 and (self.command + " " + path).startswith(fault["match"]):
                        fault["count"] = fault.get("count", 1) - 1
                        return fault["status"], {"message": "not now"}, fault.get("headers", {})
                if self.headers.get("Authorization", "").startswith("Bearer ey"):
                    if path == "/app": return 200, {"id": 12, "slug": "plumb"}, {}
                    if path == "/repos/o/r/installation": return 200, {"id": 34}, {}
                    if path == "/app/installations/34/access_tokens": return 201, {"token": "s3cret", "expires_at": "2099-01-01T00:00:00Z"}, {}
                if self.headers.get("Authorization") not in ["token s3cret", "Bearer s3cret"]: return 401, {"message": "no"}, {}
                if path == "/user": return 200, {"id": 9, "login": "bot"}, {}
                if path == "/repos/o/r": return 200, repository(1), {}
                if path == "/repos/o/r/pulls":
                    return 200, [pull(n) for n in state["pulls"] if pull(n)["state"] == "open"], {}
                if path.startswith("/repos/o/r/pulls/"):
                    n = path.rsplit("/", 1)[1]
                    return (200, pull(n), {}) if n in state["pulls"] else (404, {"message": "none"}, {})
                if path.endswith("/permission"):
                    return 200, {"permission": state["permissions"].get(path.split("/")[-2], "read")}, {}
                if path.startswith("/repos/o/r/issues/comments/") and self.command == "PATCH":
                    for comment in state["comments"]:
                        if comment["id"] == int(path.rsplit("/", 1)[1]):
                            comment["body"] = value["body"]
                            return 200, comment, {}
                    return 404, {"message": "none"}, {}
                if path.startswith("/repos/o/r/issues/") and path.endswith("/comments"):
                    n = int(path.split("/")[-2])
                    if self.command == "GET": return 200, [c for c in state["comments"] if c["issue"] == n], {}
                    comment = {"id": len(state["comments"]) + 1, "issue": n, "body": value["body"], "user": {"id": 9, "login": "bot"}}
                    state["comments"].append(comment)
                    return 201, comment, {}
                if path.endswith("/check-runs"):
                    if self.command == "GET": return 200, {"check_runs": []}, {}
                    return 201, {"id": 1, "output": {"annotations_count": len(value["output"]["annotations"])}}, {}
                if path.startswith("/repos/o/r/statuses/") and self.command == "POST": return 201, {}, {}
                return 404, {"message": "none"}, {}
            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_request
            def log_message(self, *a): pass
        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64
        server = Server(("127.0.0.1", 0), Handler)
        print(server.server_port, flush=True)
        server.serve_forever()
        """#

    let url: String
    private let process: Background

    init() async throws {
        process = try Background(["/usr/bin/env", "python3", "-c", Self.program])
        #expect(try await process.waits { $0.output.hasSuffix("\n") })
        url = "http://127.0.0.1:\(process.output.trimmingCharacters(in: .whitespacesAndNewlines))"
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

    /// The last status of a commit: `success: 1 change`.
    func status(_ commit: String) async throws -> String? {
        let last = try await requests.last { $0.path == "/repos/o/r/statuses/\(commit)" }
        return last.map { "\($0.body?["state"]?.stringValue ?? ""): \($0.body?["description"]?.stringValue ?? "")" }
    }
}
