import Foundation
import KubernetesAPI
import NIOCore
import NIOPosix
import Subprocess
import Synchronization
import Testing
import Values

@testable import Kubernetes

/// Watches of the lab's real API server, through a proxy that cuts them.
@Suite(.serialized, .timeLimit(.minutes(4)))
struct WatchLiveTests {
    struct NoLab: Error, CustomStringConvertible {
        var description: String {
            "there is no API server to test with: run this inside the lab, `Tests/run --filter WatchLiveTests` or "
                + "`Tests/Lab/lab run --api-server -- swift test --skip-build --filter WatchLiveTests`"
        }
    }

    /// A namespace of the test's own, who writes there, and who listens there through the proxy.
    private struct Place {
        var namespace: String
        var writer: ClusterConnection
        var proxy: CuttingProxy
        var listener: Listener

        var path: String { "/api/v1/namespaces/\(namespace)/configmaps" }

        @discardableResult
        func send(_ request: APIRequest) async throws -> APIResponse {
            let response = try await writer.send(request)
            guard (200..<300).contains(response.status) else { throw Unexpected(response: response) }
            return response
        }

        /// - Returns: the version.
        func put(_ name: String, _ text: String) async throws -> String {
            let body: Value = ["apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": .string(name)], "data": ["text": .string(text)]]
            let response = try await send(.apply("\(path)/\(name)", body: body, fieldManager: "test", isForced: true))
            return response.body[path: "metadata", "resourceVersion"]?.stringValue ?? ""
        }

        func delete(_ name: String) async throws {
            let response = try await writer.send(APIRequest(.delete, "\(path)/\(name)"))
            guard response.status == 200 || response.status == 404 else { throw Unexpected(response: response) }
        }

        /// What the server has, by name and version.
        func contents() async throws -> [String: String] {
            let items = try await send(APIRequest(.get, path)).body["items"]?.arrayValue ?? []
            return Dictionary(
                items.map { item in
                    (item[path: "metadata", "name"]?.stringValue ?? "", item[path: "metadata", "resourceVersion"]?.stringValue ?? "")
                }
            ) { first, _ in first }
        }

        func agree(seconds: Int = 60) async throws {
            let contents = try await contents()
            try await listener.wait("what the server has", seconds: seconds) { $0.store == contents }
        }
    }

    struct Unexpected: Error { var response: APIResponse }

    private func access(_ context: String = "home") throws -> ServerAccess {
        let environment = ProcessInfo.processInfo.environment
        guard environment["LAB"] != nil, let kubeconfig = environment["KUBECONFIG"] else { throw NoLab() }
        return try ServerAccess.find(ClusterLogin(kubeconfig: kubeconfig, context: context), environment: environment, serviceAccount: "")
    }

    private func following(context: String = "home", name: String? = nil, _ body: (Place) async throws -> Void) async throws {
        let direct = try access()
        let proxy = try await CuttingProxy(host: direct.bareHost, port: direct.port)
        var proxied = try access(context)
        proxied.url = "https://\(proxied.host):\(proxy.port)"
        proxied.port = proxy.port
        proxied.connectHost = "127.0.0.1"
        let writer = ClusterConnection(direct, timeout: .seconds(30))
        let reader = ClusterConnection(proxied, timeout: .seconds(10))
        let namespace = "watch-\(UInt32.random(in: 0...UInt32.max))"
        let place = Place(namespace: namespace, writer: writer, proxy: proxy, listener: Listener())
        let namespaces = APIResource(groupVersion: GroupVersion("v1"), kind: "Namespace", plural: "namespaces", isNamespaced: false)
        let made: Value = ["apiVersion": "v1", "kind": "Namespace", "metadata": ["name": .string(namespace)]]
        try await place.send(.create(namespaces, namespace: nil, body: made, fieldManager: "test"))
        let watch = ObjectWatch(WatchCourseTests.maps, namespace: namespace, name: name)
        var policy = WatchPolicy()
        policy.longestDelay = .seconds(1)
        let task = Task { [listener = place.listener, policy] in await reader.follow(watch, policy: policy) { listener.hear($0) } }
        do {
            try await place.listener.wait("the list") { $0.lists > 0 }
            try await body(place)
        } catch {
            Issue.record(error)
        }
        task.cancel()
        await task.value
        await reader.close()
        await writer.close()
        await proxy.close()
    }

    @Test func oneObjectIsWatchedByItsName() async throws {
        try await following(name: "b") { place in
            _ = try await place.put("a", "1")
            let version = try await place.put("b", "1")
            try await place.listener.wait("b") { $0.store == ["b": version] }
            try await place.delete("b")
            try await place.listener.wait("its end") { $0.store.isEmpty && $0.told == ["b": [version]] }
        }
    }

    /// A reader's rights are enough.
    @Test func aListOfManyPages() async throws {
        try await following(context: "reader") { place in
            for index in 0..<30 { _ = try await place.put("n\(index)", "1") }
            try await place.agree()
            var policy = WatchPolicy()
            policy.pageSize = 7
            let other = Listener()
            let connection = place.writer
            let watch = ObjectWatch(WatchCourseTests.maps, namespace: place.namespace)
            let task = Task { await connection.follow(watch, policy: policy) { other.hear($0) } }
            try await other.wait("all pages") { $0.store.count == 30 }
            task.cancel()
            await task.value
            #expect(other.store == place.listener.store)
        }
    }

    /// The server ends each watch after the time that was asked for; that is no trouble and no news.
    @Test func theServersOwnEndIsNoTrouble() async throws {
        try await following { place in
            var policy = WatchPolicy()
            policy.lifetime = 2...2
            let started = ContinuousClock.now
            let other = Listener()
            let connection = place.writer
            let watch = ObjectWatch(WatchCourseTests.maps, namespace: place.namespace)
            let task = Task { await connection.follow(watch, policy: policy) { other.hear($0) } }
            for index in 0..<40 {
                _ = try await place.put("a", "\(index)")
                try await Task.sleep(for: .milliseconds(100))
            }
            let contents = try await place.contents()
            try await other.wait("the last version") { $0.store == contents }
            task.cancel()
            await task.value
            #expect(other.lists == 1)
            #expect(other.restarts == [])
            #expect(other.told["a"]?.count == 40)
            #expect(ContinuousClock.now - started > .seconds(2), "it was ended at least once")
        }
    }

    /// etcd forgets, and a server that starts anew never knew: 410.
    @Test func aForgottenVersionIsListedAnew() async throws {
        try await following { place in
            _ = try await place.put("a", "1")
            _ = try await place.put("gone", "1")
            try await place.agree()
            place.proxy.refuses = true
            place.proxy.cut()
            try await place.delete("gone")
            var last = ""
            for index in 0..<20 { last = try await place.put("n\(index)", "\(index)") }
            let etcd = try #require(ServerAccess(url: "http://127.0.0.1:2379", origin: "etcd"))
            let connection = ClusterConnection(etcd, timeout: .seconds(10))
            let compaction = try await connection.send(APIRequest(.post, "/v3/kv/compaction", body: ["revision": .string(last), "physical": true]))
            await connection.close()
            #expect(compaction.status == 200)
            try await restartServer()
            #expect(place.listener.store.keys.contains("gone"))
            place.proxy.refuses = false
            try await place.agree()
            #expect(place.listener.restarts.contains { $0.contains("(410)") }, "\(place.listener.restarts)")
            #expect(place.listener.lists == 2)
        }
    }

    private func restartServer() async throws {
        let outcome = try await Subprocess.run(.name("lab"), arguments: ["api-server", "restart"], output: .discarded, error: .discarded)
        #expect(outcome.terminationStatus.isSuccess)
    }

    @Test func aRestartOfTheServerLosesNothing() async throws {
        try await following { place in
            _ = try await place.put("a", "1")
            try await place.agree()
            for round in 0..<2 {
                try await restartServer()
                _ = try await place.put("a", "after \(round)")
                try await place.agree()
            }
            #expect(place.listener.restarts.count >= 2)
        }
    }

    /// Eight people change things at random while connections are cut at random. In the end whoever listened has what the server has, and has
    /// heard the last version of everything that is there.
    @Test func nothingIsMissedUnderCuts() async throws {
        try await following { place in
            let isOver = Mutex(false)
            let cutter = Task {
                var cuts = 0
                while !isOver.withLock({ $0 }) {
                    try? await Task.sleep(for: .milliseconds(Int.random(in: 20...400)))
                    place.proxy.cut()
                    cuts += 1
                }
                return cuts
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in 0..<8 {
                    group.addTask {
                        for round in 0..<150 {
                            let name = "w\(writer)-\(Int.random(in: 0..<12))"
                            if Int.random(in: 0..<5) == 0 {
                                try await place.delete(name)
                            } else {
                                _ = try await place.put(name, "\(round)")
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            isOver.withLock { $0 = true }
            let cuts = await cutter.value
            let contents = try await place.contents()
            try await place.listener.wait("what the server has", seconds: 60) { $0.store == contents }
            for (name, version) in contents { #expect(place.listener.told[name]?.contains(version) == true) }
            #expect(cuts > 5 && place.listener.restarts.count > 2)
            print("1200 changes, \(cuts) cuts, \(place.listener.restarts.count) restarts, \(place.listener.lists) lists")
        }
    }
}

/// Passes bytes on to a server, until it cuts all connections, or refuses new ones.
final class CuttingProxy: Sendable {
    private struct State {
        var channels: [any Channel] = []
        var refuses = false
    }

    private final class Shared: Sendable {
        let state = Mutex(State())
    }

    let port: Int
    private let listening: any Channel
    private let shared: Shared

    init(host: String, port: Int) async throws {
        let shared = Shared()
        self.shared = shared
        listening = try await ServerBootstrap(group: ScriptedServer.group)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { near in
                guard !shared.state.withLock({ $0.refuses }) else { return near.close() }
                return ClientBootstrap(group: near.eventLoop)
                    .channelOption(.autoRead, value: false)
                    .connect(host: host, port: port)
                    .flatMap { far in
                        shared.state.withLock { $0.channels += [near, far] }
                        return near.eventLoop.makeCompletedFuture {
                            try near.pipeline.syncOperations.addHandler(Passing(to: far))
                            try far.pipeline.syncOperations.addHandler(Passing(to: near))
                        }.flatMap { near.setOption(.autoRead, value: true) }.flatMap { far.setOption(.autoRead, value: true) }
                    }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        self.port = listening.localAddress?.port ?? 0
    }

    var refuses: Bool {
        get { shared.state.withLock { $0.refuses } }
        set { shared.state.withLock { $0.refuses = newValue } }
    }

    func cut() {
        let channels = shared.state.withLock { state in
            defer { state.channels = [] }
            return state.channels
        }
        for channel in channels { channel.close(promise: nil) }
    }

    func close() async {
        cut()
        try? await listening.close().get()
    }
}

private final class Passing: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let other: any Channel

    init(to other: any Channel) { self.other = other }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { other.writeAndFlush(unwrapInboundIn(data), promise: nil) }

    func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
