import Foundation
import KubernetesAPI
import Synchronization
import Testing
import Values

@testable import Kubernetes

/// Watches against a server whose streams end in all the ways there are.
@Suite(.timeLimit(.minutes(2)))
struct WatchTests {
    static let watch = ObjectWatch(WatchCourseTests.maps, namespace: "n")

    static func access(_ server: WatchedServer) throws -> ServerAccess {
        guard var access = ServerAccess(url: "http://127.0.0.1:\(server.port)", origin: "user 'u', context 'c' of /kubeconfig") else {
            throw Listener.NeverCame(description: "no access")
        }
        access.token = .fixed("secret-token")
        return access
    }

    /// A server with two objects, and somebody who has heard of both.
    private func following(
        policy: WatchPolicy = WatchPolicy(),
        token: String? = nil,
        tokenFile: String? = nil,
        _ body: (WatchedServer, Listener) async throws -> Void
    ) async throws {
        let server = try await WatchedServer.start(tokens: token)
        server.put("a")
        server.put("b")
        var access = try Self.access(server)
        if let tokenFile { access.token = .file(tokenFile) }
        let connection = ClusterConnection(access, timeout: .seconds(5))
        let listener = Listener()
        let task = Task { await connection.follow(Self.watch, policy: policy) { listener.hear($0) } }
        do {
            try await listener.wait("the list") { $0.lists == 1 }
            #expect(listener.store == server.contents)
            try await wait("a stream") { server.openStreams == 1 }
            try await body(server, listener)
        } catch {
            Issue.record(error)
        }
        task.cancel()
        // It ends, and nothing is told afterwards.
        await task.value
        let count = listener.events.count
        server.put("z")
        await connection.close()
        #expect(listener.events.count == count)
        await server.close()
        #expect(!"\(listener.events)".contains("secret-token"))
    }

    private func wait(_ what: String, until condition: () -> Bool) async throws {
        try await Listener().wait(what) { _ in condition() }
    }

    private func agree(_ server: WatchedServer, _ listener: Listener) async throws {
        try await listener.wait("what the server has: \(server.contents)") { $0.store == server.contents }
    }

    @Test func tellsWhatHappensInOrder() async throws {
        try await following { server, listener in
            let versions = (0..<200).map { server.put("a", data: "\($0)") }
            server.delete("b")
            try await agree(server, listener)
            let changes = listener.events.compactMap { event in
                if case .changed(let object) = event { object[path: "metadata", "resourceVersion"]?.stringValue } else { nil }
            }
            #expect(changes == versions)
            #expect(listener.events.last.map { if case .deleted = $0 { true } else { false } } == true)
            #expect(server.watches == 1 && server.lists == 1)
            #expect(listener.restarts == [])
        }
    }

    enum Ending: String, CaseIterable, Sendable {
        case end, cut, halfALine, gone, goneUntold, noJSON, tooLong, serverError, unavailable, unexpectedAnswer
    }

    /// After each, what happens then is told, and what happened meanwhile too.
    @Test(arguments: Ending.allCases)
    func goesOnAfter(ending: Ending) async throws {
        var policy = WatchPolicy()
        policy.longestLine = 64 << 10
        try await following(policy: policy) { server, listener in
            switch ending {
            case .end: server.endStreams()
            case .cut: server.cutStreams()
            case .halfALine:
                server.say(#"{"type":"MODIFIED","object":{"kind":"ConfigMap","metadata":{"name":"a","resourceVers"#)
                server.cutStreams()
            case .gone: server.forget(telling: true)
            case .goneUntold:
                server.refuseNextWatch(.answer(410, #"{"kind":"Status","code":410,"reason":"Gone"}"#))
                server.endStreams()
            case .noJSON: server.say("this is no JSON\n")
            case .tooLong: server.say(String(repeating: "x", count: 70 << 10))
            case .serverError:
                server.refuseNextWatch(.answer(500, #"{"kind":"Status","code":500,"message":"etcdserver: leader changed"}"#))
                server.endStreams()
            case .unavailable:
                server.refuseNextWatch(.answer(503, "away", headers: ["Retry-After": "1"]), .cut(""))
                server.endStreams()
            case .unexpectedAnswer:
                server.refuseNextWatch(.answer(204, ""), .bytes("no HTTP at all\r\n\r\n"))
                server.endStreams()
            }
            server.put("a", data: "meanwhile")
            server.delete("b")
            server.put("c")
            try await agree(server, listener)
            server.put("c", data: "later")
            try await agree(server, listener)
            #expect(!listener.restarts.isEmpty)
            let relists = [.gone, .goneUntold, .noJSON, .tooLong].contains(ending)
            #expect(listener.lists == (relists ? 2 : 1), "\(listener.restarts)")
            if !relists {
                // Nothing was asked for that was known already: each stream began where the one before had ended.
                #expect(Set(server.watched.prefix(2)).count == 1)
            }
        }
    }

    @Test func bookmarksMoveTheVersion() async throws {
        try await following { server, listener in
            let other = server.put("other")
            try await agree(server, listener)
            server.say("{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"5000\"}}}\n")
            server.endStreams()
            try await wait("another watch") { server.watches == 2 }
            #expect(server.watched == [String(Int(other).map { $0 - 1 } ?? 0), "5000"])
        }
    }

    /// Half-open: nothing comes, and nothing says that nothing will come.
    @Test func silenceIsNoticed() async throws {
        var policy = WatchPolicy()
        policy.longestSilence = .milliseconds(300)
        try await following(policy: policy) { server, listener in
            // Before the first bookmark silence says nothing.
            server.bookmark()
            try await wait("another watch") { server.watches >= 2 }
            #expect(listener.restarts.first?.contains("has said nothing for too long") == true)
            try await wait("the silent one closed") { server.openStreams == 1 }
            server.put("a", data: "later")
            try await agree(server, listener)
        }
    }

    /// A machine that is gone is noticed by the kernel, if it was told to look.
    @Test func theKernelLooksAfterConnections() async throws {
        try await following { server, _ in
            let port = String(server.port, radix: 16, uppercase: true)
            // Address, state 01 (established), and as timer 02 (keepalive).
            try await wait("a keepalive timer") {
                // What is in /proc has no length, so it is read to its end.
                let table = (try? FileHandle(forReadingAtPath: "/proc/self/net/tcp")?.readToEnd()) ?? Data()
                let lines = String(decoding: table, as: UTF8.self).split(separator: "\n")
                return lines.map { $0.split(separator: " ") }.contains {
                    $0.count > 5 && $0[2].hasSuffix(":\(port)") && $0[3] == "01" && $0[5].hasPrefix("02:")
                }
            }
        }
    }

    @Test func aStreamThatOutlivesItsTimeIsEnded() async throws {
        var policy = WatchPolicy()
        policy.lifetime = 0...0
        policy.margin = .milliseconds(200)
        try await following(policy: policy) { server, listener in
            try await wait("another watch") { server.watches >= 2 }
            #expect(listener.restarts.first?.contains("has said nothing for too long") == true)
        }
    }

    @Test func aRenewedTokenIsUsed() async throws {
        let file = "\(NSTemporaryDirectory())plumb-token-\(UInt32.random(in: 0...UInt32.max))"
        defer { try? FileManager.default.removeItem(atPath: file) }
        try "first".write(toFile: file, atomically: true, encoding: .utf8)
        try await following(token: "first", tokenFile: file) { server, listener in
            server.token.withLock { $0 = "second" }
            try "second".write(toFile: file, atomically: true, encoding: .utf8)
            server.endStreams()
            server.put("a", data: "later")
            try await agree(server, listener)
            #expect(listener.lists == 1)
            #expect(listener.restarts.contains("the token was renewed"))
        }
    }

    @Test func refusedCredentialsAreSaidAndTriedAgain() async throws {
        try await following(token: "secret-token") { server, listener in
            server.token.withLock { $0 = "other" }
            server.cutStreams()
            try await listener.wait("why it was refused") { $0.restarts.contains { $0.contains("refused the credentials (401)") } }
            server.token.withLock { $0 = "secret-token" }
            server.put("a", data: "later")
            try await agree(server, listener)
        }
    }

    /// A watch keeps its connection. If it took one of those that requests use, some watches would be the end of all requests.
    @Test func manyWatchesLeaveRequestsAlone() async throws {
        let server = try await WatchedServer.start()
        server.put("a")
        let connection = ClusterConnection(try Self.access(server), timeout: .seconds(5))
        let listeners = (0..<40).map { _ in Listener() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for listener in listeners { group.addTask { await connection.follow(Self.watch) { listener.hear($0) } } }
            try await wait("all streams") { server.openStreams == 40 }
            let response = try await connection.send(APIRequest(.get, "/api/v1/namespaces/n/configmaps"))
            #expect(response.status == 200)
            server.put("a", data: "later")
            for listener in listeners { try await agree(server, listener) }
            group.cancelAll()
        }
        await connection.close()
        await server.close()
    }

    /// A slow consumer holds up its server, and no memory grows: what is sent and not taken stays on the way.
    @Test func aSlowConsumerHoldsUpTheServer() async throws {
        let server = try await WatchedServer.start()
        let connection = ClusterConnection(try Self.access(server), timeout: .seconds(5))
        let gate = DispatchSemaphore(value: 0)
        let heard = Mutex(0)
        let task = Task {
            await connection.follow(Self.watch) { event in
                guard case .changed = event else { return }
                let count = heard.withLock { heard in
                    heard += 1
                    return heard
                }
                if count == 1 { gate.wait() }
            }
        }
        try await wait("a stream") { server.openStreams == 1 }
        let data = String(repeating: "x", count: 60_000)
        for index in 0..<2000 { server.put("a\(index % 3)", data: data) }
        // 120 MB are under way; of these the sockets' buffers hold a few, and the rest waits at the server.
        try await wait("the server held up") { !server.isWritable }
        #expect(heard.withLock { $0 } == 1)
        gate.signal()
        try await wait("all events") { heard.withLock { $0 } == 2000 }
        task.cancel()
        await task.value
        await connection.close()
        await server.close()
    }

    /// Whatever happens to the streams, whoever listens ends with what the server has, and has heard the last version of each object.
    @Test(arguments: 0..<8)
    func nothingIsMissed(seed: UInt64) async throws {
        var chance = Chance(seed: seed)
        var policy = WatchPolicy()
        policy.pageSize = 7
        (policy.firstDelay, policy.longestDelay) = (.milliseconds(5), .milliseconds(50))
        try await following(policy: policy) { server, listener in
            var last: [String: String] = [:]
            for round in 0..<400 {
                let name = "n\(chance.next(30))"
                switch chance.next(12) {
                case 0...6: last[name] = server.put(name, data: "\(round)")
                case 7, 8:
                    server.delete(name)
                    last[name] = nil
                case 9: server.bookmark()
                default:
                    switch chance.next(7) {
                    case 0: server.endStreams()
                    case 1: server.cutStreams()
                    case 2: server.forget(telling: true)
                    case 3:
                        server.forget(telling: false)
                        server.cutStreams()
                    case 4:
                        server.say("{\"type\":\"MODI")
                        server.cutStreams()
                    case 5: server.say("rubbish\n")
                    default:
                        server.refuseNextWatch(.answer(500, "{}"))
                        server.endStreams()
                    }
                    // Now and then it gets time to come back, else all would fall into one gap.
                    if chance.next(2) == 0 { try await agree(server, listener) }
                }
            }
            try await agree(server, listener)
            for (name, version) in last { #expect(listener.told[name]?.contains(version) == true, "\(name) \(version)") }
            #expect(listener.restarts.count > 3)
        }
    }

    struct Chance {
        private var state: UInt64
        init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1 }

        mutating func next(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((state >> 33) % UInt64(bound))
        }
    }
}
