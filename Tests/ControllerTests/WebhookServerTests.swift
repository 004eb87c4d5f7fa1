import Controller
import Crypto
import Forge
import Foundation
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing

private let secret = "correct horse battery staple"

private final class Heard: Sendable {
    private let state = Mutex<[PushNotice]>([])
    private let pullRequests = Mutex<[PullRequestNotice]>([])
    var notices: [PushNotice] { state.withLock { $0 } }
    var requests: [PullRequestNotice] { pullRequests.withLock { $0 } }
    func add(_ notice: PushNotice) { state.withLock { $0.append(notice) } }
    func add(_ notice: PullRequestNotice) { pullRequests.withLock { $0.append(notice) } }
}

private func commit(_ number: Int) -> String { String(format: "%040x", number + 1) }

private func body(_ number: Int = 0, repository: String = "owner/specs", padding: Int = 0) -> String {
    let rest = padding > 0 ? #","padding":"\#(String(repeating: "x", count: padding))""# : ""
    return #"{"ref":"refs/heads/main","after":"\#(commit(number))","repository":{"full_name":"\#(repository)"}\#(rest)}"#
}

private func signature(_ body: String, _ secret: String = secret) -> String {
    HMAC<SHA256>.authenticationCode(for: Array(body.utf8), using: SymmetricKey(data: Array(secret.utf8))).map { String(format: "%02x", $0) }.joined()
}

private func head(
    _ body: String,
    line: String = "POST /hook HTTP/1.1",
    event: String = "push",
    secret: String = secret,
    id: String = UUID().uuidString,
    length: String? = nil
) -> String {
    """
    \(line)\r
    Host: localhost\r
    \(length ?? "Content-Length: \(body.utf8.count)")\r
    X-GitHub-Event: \(event)\r
    X-GitHub-Delivery: \(id)\r
    X-Hub-Signature-256: sha256=\(signature(body, secret))\r
    \r

    """
}

@Suite struct WebhookServerTests {
    private func withServer(
        limits: WebhookServer.Limits = WebhookServer.Limits(),
        metrics: Metrics = Metrics(),
        _ test: (_ port: Int, _ heard: Heard) async throws -> Void
    ) async throws {
        let heard = Heard()
        let server = WebhookServer(
            address: Configuration.Address("127.0.0.1", 0),
            verifier: WebhookVerifier(secrets: [.github: [try WebhookSecret(secret.utf8, of: .github)]], tokensCount: true),
            repository: FollowedRepository(url: "https://github.com/owner/specs"),
            limits: limits,
            metrics: metrics,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            onPush: { heard.add($0) },
            onPullRequest: { heard.add($0) }
        )
        try await beside(server.run(onListening:)) { try await test($0, heard) }
    }

    @Test func hearsOfPullRequests() async throws {
        func body(_ action: String, _ repository: String = "owner/specs") -> String {
            let request = #"{"head":{"sha":"\#(commit(1))"},"base":{"ref":"main"}}"#
            return #"{"action":"\#(action)","number":3,"pull_request":\#(request),"repository":{"full_name":"\#(repository)"}}"#
        }
        try await withServer { port, heard in
            var wire = try await Wire.open(port: port)
            let cases: [(String, String, String, Int, String)] = [
                (body("opened"), "1", secret, 202, "accepted\n"), (body("opened"), "1", secret, 202, "known already\n"),
                (body("synchronize"), "2", secret, 202, "accepted\n"), (body("labeled"), "3", secret, 202, "ignored\n"),
                (body("opened", "fork/specs"), "4", secret, 403, "this repository is not followed here\n"),
                (body("opened"), "5", "another", 401, "not authenticated\n"),
            ]
            for (body, id, secret, status, text) in cases {
                try await wire.send(head(body, event: "pull_request", secret: secret, id: id) + body)
                let answer = try await wire.answer()
                #expect(answer.status == status && answer.body == text, "\(id): \(answer)")
            }
            #expect(heard.requests.map(\.action) == [.opened, .updated])
            #expect(heard.notices.isEmpty)
        }
    }

    @Test func answersEachRequestAndSaysWhat() async throws {
        let metrics = Metrics()
        try await withServer(metrics: metrics) { port, heard in
            var wire = try await Wire.open(port: port)
            // One connection for all of them: an answer before the body was read leaves the next request whole.
            let cases: [(String, String, Int, String)] = [
                (head(body(1), id: "1"), body(1), 202, "accepted\n"),
                (head(body(1), id: "1"), body(1), 202, "known already\n"),
                (head(body(2), secret: "another"), body(2), 401, "not authenticated\n"),
                ("POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n", "{}", 401, "not authenticated\n"),
                (head(body(3, repository: "owner/other")), body(3, repository: "owner/other"), 403, "this repository is not followed here\n"),
                (head(body(4), line: "POST /elsewhere HTTP/1.1"), body(4), 404, "not found\n"),
                (head(body(4), line: "POST /hook/nobody HTTP/1.1"), body(4), 404, "not found\n"),
                (head(body(4), line: "GET /hook HTTP/1.1"), body(4), 405, "POST only\n"),
                (head(body(4), line: "POST /hook/gitlab HTTP/1.1"), body(4), 401, "not authenticated\n"),
                (head("ping", event: "ping"), "ping", 202, "ignored\n"),
                (head("nonsense"), "nonsense", 400, "its body is no JSON object\n"),
                (head(body(5), line: "POST /hook/github?x=y HTTP/1.1"), body(5), 202, "accepted\n"),
            ]
            for (head, body, status, text) in cases {
                try await wire.send(head + body)
                let answer = try await wire.answer()
                #expect(answer.status == status, "\(head)")
                #expect(answer.body == text)
                #expect(answer.headers["allow"] == (status == 405 ? "POST" : nil))
            }
            #expect(heard.notices.map(\.commit) == [commit(1), commit(5)])
            let text = metrics.render()
            for line in [
                "provider=\"github\",outcome=\"accepted\"} 2", "provider=\"github\",outcome=\"repeated\"} 1",
                "provider=\"github\",outcome=\"forged\"} 1",
                "provider=\"unknown\",outcome=\"unsigned\"} 1", "provider=\"github\",outcome=\"other_repository\"} 1",
                "provider=\"unknown\",outcome=\"not_found\"} 2", "provider=\"unknown\",outcome=\"not_configured\"} 1",
                "provider=\"github\",outcome=\"ignored\"} 1", "provider=\"github\",outcome=\"unreadable\"} 1",
            ] { #expect(text.contains("plumb_webhook_requests_total{\(line)\n"), "\(line)") }
        }
    }

    @Test func readsNoMoreThanTheLimit() async throws {
        var limits = WebhookServer.Limits()
        limits.body = 100_000
        try await withServer(limits: limits) { port, heard in
            // Announced: refused before a byte of it.
            var announced = try await Wire.open(port: port)
            try await announced.send(head("", length: "Content-Length: 100001"))
            #expect(try await announced.answer().status == 413)
            #expect(await announced.rest().isEmpty)

            // In chunks without an end: cut off.
            var endless = try await Wire.open(port: port)
            try await endless.send(head("", length: "Transfer-Encoding: chunked"))
            let chunk = "8000\r\n" + String(repeating: "x", count: 0x8000) + "\r\n"
            for _ in 0..<8 { try? await endless.send(chunk) }
            #expect(try await endless.answer().status == 413)
            // It is not read on and on.
            while (try? await endless.send(chunk)) != nil {}

            // As long as may be, in chunks.
            let text = body(1, padding: 90_000)
            var whole = try await Wire.open(port: port)
            try await whole.send(head(text, length: "Transfer-Encoding: chunked"))
            for part in stride(from: 0, to: text.utf8.count, by: 10_000) {
                let bytes = Array(text.utf8.dropFirst(part).prefix(10_000))
                try await whole.send("\(String(bytes.count, radix: 16))\r\n")
                try await whole.send(bytes)
                try await whole.send("\r\n")
            }
            try await whole.send("0\r\n\r\n")
            #expect(try await whole.answer().status == 202)
            #expect(heard.notices.map(\.commit) == [commit(1)])
        }
    }

    @Test func holdsFewLargeBodiesAtATime() async throws {
        var limits = WebhookServer.Limits()
        (limits.smallBody, limits.largeBodies) = (1_000, 100_000)
        try await withServer(limits: limits) { port, heard in
            let text = body(1, padding: 80_000)
            var first = try await Wire.open(port: port)
            try await first.send(head(text) + text.prefix(70_000))
            // Until it has them, a second one has its place.
            var status = 202
            while status == 202 {
                let other = body(2, padding: 60_000)
                var second = try await Wire.open(port: port)
                try await second.send(head(other) + other)
                let answer = try await second.answer()
                status = answer.status
                if status != 202 { #expect(answer.headers["retry-after"] == "5") }
                await second.close()
            }
            #expect(status == 429)
            // A short one always has.
            var short = try await Wire.open(port: port)
            try await short.send(head(body(3)) + body(3))
            #expect(try await short.answer().status == 202)
            try await first.send(String(text.dropFirst(70_000)))
            #expect(try await first.answer().status == 202)
            #expect(heard.notices.contains { $0.commit == commit(1) })
            // And what was held is free again.
            var last = try await Wire.open(port: port)
            try await last.send(head(body(4, padding: 80_000)) + body(4, padding: 80_000))
            #expect(try await last.answer().status == 202)
        }
    }

    /// Half a header, half a body, a byte now and then, nothing after an answer, nothing at all.
    @Test(arguments: ["POST /hook HT", head(body()), head(body()) + "{", head(body()) + body(), ""])
    func endsWhoDoesNotGoOn(_ start: String) async throws {
        var limits = WebhookServer.Limits()
        limits.deadline = .milliseconds(300)
        try await withServer(limits: limits) { port, _ in
            let wire = try await Wire.open(port: port)
            if !start.isEmpty { try await wire.send(start) }
            let send = wire.sender
            let goesOn = !start.isEmpty && !start.hasSuffix("}")
            let trickle = Task {
                // Each of them would begin the time anew if that went by silence.
                while goesOn, !Task.isCancelled, (try? await send("x")) != nil { try? await Task.sleep(for: .milliseconds(20)) }
            }
            var ending = wire
            let began = ContinuousClock.now
            _ = await ending.rest()
            trickle.cancel()
            #expect(began.duration(to: .now) < .seconds(20), "it was our own deadline that ended it")
            var next = try await Wire.open(port: port)
            try await next.send(head(body(1)) + body(1))
            #expect(try await next.answer().status == 202)
        }
    }

    /// Those who only hold connections don't keep a push out.
    @Test func hearsAPushThroughACrowd() async throws {
        var limits = WebhookServer.Limits()
        (limits.connections, limits.deadline) = (16, .seconds(60))
        try await withServer(limits: limits) { port, heard in
            var crowd: [Wire] = []
            for _ in 0..<24 { crowd.append(try await Wire.open(port: port)) }
            var wire = try await Wire.open(port: port)
            try await wire.send(head(body(1)) + body(1))
            #expect(try await wire.answer().status == 202)
            #expect(heard.notices.count == 1)
            for wire in crowd { await wire.close() }
        }
    }

    @Test func losesNoPushInABurst() async throws {
        try await withServer { port, heard in
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for sender in 0..<8 {
                    tasks.addTask {
                        var wire = try await Wire.open(port: port)
                        for round in 0..<100 {
                            let isGenuine = round.isMultiple(of: 2)
                            let text = body(sender * 1000 + round)
                            try await wire.send(head(text, secret: isGenuine ? secret : "another") + text)
                            #expect(try await wire.answer().status == (isGenuine ? 202 : 401))
                        }
                    }
                }
                try await tasks.waitForAll()
            }
            let expected = (0..<8).flatMap { sender in stride(from: 0, to: 100, by: 2).map { commit(sender * 1000 + $0) } }
            #expect(Set(heard.notices.compactMap(\.commit)) == Set(expected))
            #expect(heard.notices.count == expected.count)
        }
    }

    /// Bytes at random on the wire: nothing is heard, and the next request is.
    @Test(arguments: 0..<3) func survivesNonsense(_ seed: UInt64) async throws {
        try await withServer { port, heard in
            var dice = Dice(seed)
            for round in 0..<40 {
                let wire = try await Wire.open(port: port)
                let start = ["", "POST /hook HTTP/1.1\r\n", head(body()), "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"][round % 4]
                let noise = (0..<Int.random(in: 1...4000, using: &dice)).map { _ in UInt8.random(in: 0...255, using: &dice) }
                try? await wire.send(Array(start.utf8) + noise)
                await wire.close()
            }
            #expect(heard.notices.isEmpty)
            var wire = try await Wire.open(port: port)
            try await wire.send(head(body(1)) + body(1))
            #expect(try await wire.answer().status == 202)
        }
    }

    @Test func stopsWithRequestsUnderWay() async throws {
        var open: [Wire] = []
        try await withServer { port, _ in
            for start in ["", "POST /hook HT", head(body()), head(body()) + "{"] {
                let wire = try await Wire.open(port: port)
                if !start.isEmpty { try await wire.send(start) }
                open.append(wire)
            }
        }
        // Here it has stopped.
        for wire in open {
            var wire = wire
            _ = await wire.rest()
        }
    }
}

extension WebhookServerTests {
    /// Who is accepted in the moment it ends is taken by nobody; NIO would end the process for that.
    @Test func stopsWhileOthersCome() async throws {
        for _ in 0..<20 {
            try await withServer { port, _ in
                for _ in 0..<50 { Task { try? await Wire.open(port: port).close() } }
                _ = try await Wire.open(port: port)
            }
        }
    }
}

@Suite struct WebhookConfigurationTests {
    private func server(
        _ files: [String],
        listen: String = "127.0.0.1:0",
        tls: (certificate: String, key: String)? = nil,
        _ heard: Heard = Heard()
    ) throws -> WebhookServer {
        let encryption = tls.map { "  tls: {certificateFile: \($0.certificate), keyFile: \($0.key)}\n" } ?? ""
        let text = """
            source: {url: "https://gitlab.example/owner/specs.git"}
            webhooks:
              listen: "\(listen)"
            \(encryption)  providers: [{forge: gitlab, secretFiles: [\(files.joined(separator: ", "))]}]

            """
        let configuration = try Configuration(yaml: Array(text.utf8), file: "plumb.yaml")
        let webhooks = try #require(configuration.webhooks)
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        return try WebhookServer(webhooks, following: configuration.source, metrics: Metrics(), logger: logger) { heard.add($0) }
    }

    private func token(_ token: String) -> String {
        let text = #"{"ref":"refs/heads/main","project":{"path_with_namespace":"owner/specs"}}"#
        return """
            POST /hook HTTP/1.1\r
            Host: localhost\r
            Content-Length: \(text.utf8.count)\r
            X-Gitlab-Event: Push Hook\r
            X-Gitlab-Token: \(token)\r
            \r
            \(text)
            """
    }

    @Test func saysWhatIsWrongWithASecretAndNotTheSecret() async throws {
        try await withFolder { folder in
            try "hunter2hunter2\n".write(toFile: "\(folder)/good", atomically: true, encoding: .utf8)
            try " \n".write(toFile: "\(folder)/empty", atomically: true, encoding: .utf8)
            try "whsec_hunter2?".write(toFile: "\(folder)/broken", atomically: true, encoding: .utf8)
            try String(repeating: "x", count: 20_000).write(toFile: "\(folder)/long", atomically: true, encoding: .utf8)
            for (file, part) in [
                ("none", "can't be read"), ("empty", "everybody could sign"), ("broken", "no base64"), ("long", "has 20000 bytes"),
            ] {
                let failure = #expect(throws: ListeningFailure.self) { try server(["\(folder)/good", "\(folder)/\(file)"]) }
                #expect(failure?.message.contains("\(folder)/\(file)") == true)
                #expect(failure?.message.contains(part) == true)
                #expect(failure?.description.contains("hunter2") == false)
            }
            let tls = ("\(folder)/good", "\(folder)/good")
            let failure = #expect(throws: ListeningFailure.self) { try server(["\(folder)/good"], tls: tls) }
            #expect(failure?.description.contains("hunter2") == false)
        }
    }

    @Test func takesATokenOverTLSAndNotInTheClear() async throws {
        try await withFolder { folder in
            try "a token\n".write(toFile: "\(folder)/token", atomically: true, encoding: .utf8)
            let made = try await command(
                [
                    "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout",
                    "key.pem",
                    "-out", "certificate.pem", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                ],
                folder: folder
            )
            #expect(made.status == 0, "\(made.output)")
            let plain = try server(["\(folder)/token"], listen: "0.0.0.0:0")
            try await beside(plain.run(onListening:)) { (port: Int) in
                var wire = try await Wire.open(port: port)
                try await wire.send(token("a token"))
                #expect(try await wire.answer().status == 401)
            }
            let heard = Heard()
            let tls = ("\(folder)/certificate.pem", "\(folder)/key.pem")
            let encrypted = try server(["\(folder)/token"], listen: "0.0.0.0:0", tls: tls, heard)
            try await beside(encrypted.run(onListening:)) { (port: Int) in
                // Somebody who begins no TLS is in nobody's way.
                let silent = try await Wire.open(port: port)
                var wire = try await Wire.open(port: port, authority: "\(folder)/certificate.pem")
                try await wire.send(token("another"))
                #expect(try await wire.answer().status == 401)
                try await wire.send(token("a token"))
                #expect(try await wire.answer().status == 202)
                await silent.close()
            }
            #expect(heard.notices.map(\.ref) == ["refs/heads/main"])
        }
    }

    @Test func saysThatAnAddressIsTaken() async throws {
        try await withFolder { folder in
            try "a token\n".write(toFile: "\(folder)/token", atomically: true, encoding: .utf8)
            let first = try server(["\(folder)/token"])
            try await beside(first.run(onListening:)) { (port: Int) in
                let second = try server(["\(folder)/token"], listen: "127.0.0.1:\(port)")
                let failure = await #expect(throws: ListeningFailure.self) { try await second.run() }
                #expect(failure?.message == "can't listen on 127.0.0.1:\(port): the address is taken")
            }
        }
    }
}

@Suite struct OperationsServerTests {
    private func get(_ path: String, _ port: Int, method: String = "GET") async throws -> Wire.Answer {
        var wire = try await Wire.open(port: port)
        try await wire.send("\(method) \(path) HTTP/1.1\r\nHost: x\r\n\r\n")
        return try await wire.answer()
    }

    private func server(_ metrics: Metrics, trouble: String? = nil, unreadiness: String? = nil) -> OperationsServer {
        OperationsServer(address: .init("127.0.0.1", 0), metrics: metrics, trouble: { trouble }, unreadiness: { unreadiness })
    }

    @Test func showsMetricsAndVerdicts() async throws {
        let metrics = Metrics()
        metrics.increment(Metrics.Metric("plumb_passes_total", .counter, "Passes."), ["result": "ok"])
        let server = server(metrics, unreadiness: "the source was not read yet")
        try await beside(server.run(onListening:)) { (port: Int) in
            let shown = try await get("/metrics", port)
            #expect(shown.status == 200)
            #expect(shown.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
            #expect(shown.body.contains("plumb_passes_total{result=\"ok\"} 1\n"))
            let health = try await get("/healthz", port)
            #expect((health.status, health.body) == (200, "ok\n"))
            let readiness = try await get("/readyz", port)
            #expect((readiness.status, readiness.body) == (503, "the source was not read yet\n"))
            #expect(try await get("/hook", port).status == 404)
            #expect(try await get("/metrics", port, method: "POST").status == 405)
        }
    }

    @Test func callsWhatHangsStuck() async throws {
        let server = OperationsServer(
            address: .init("127.0.0.1", 0),
            metrics: Metrics(),
            trouble: {
                // It does not even hear that it is not wanted any more.
                await withUnsafeContinuation { (_: UnsafeContinuation<Void, Never>) in }
                return nil
            },
            unreadiness: { nil }
        )
        try await beside(server.run(onListening:)) { (port: Int) in
            let health = try await get("/healthz", port)
            #expect((health.status, health.body) == (503, "no answer within 2 s\n"))
            #expect(try await get("/readyz", port).status == 200)
        }
    }
}
