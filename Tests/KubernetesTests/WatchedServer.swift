import Foundation
import KubernetesAPI
import NIOCore
import Synchronization
import Values

@testable import Kubernetes

/// A small API server for ConfigMaps: objects with versions, lists in pages, watches from a version. It keeps its history until it is told to
/// forget, and its streams end as the test wants it.
final class WatchedServer: Sendable {
    private struct Happening: Sendable {
        var version: Int
        var line: String
    }

    private struct State {
        var version = 100
        var objects: [String: String] = [:]
        var history: [Happening] = []
        /// Versions up to this one can't be watched from any more.
        var forgotten = 0
        var feeds: [ScriptedServer.Feed] = []
        var server: ScriptedServer?
        /// What the next watches are answered instead.
        var refusals: [ScriptedServer.Reply] = []
        var watched: [String] = []
        var lists = 0
    }

    private let state = Mutex(State())
    /// Only with it is anybody let in; nil: everybody.
    let token: Mutex<String?> = Mutex(nil)

    static func start(tokens: String? = nil) async throws -> WatchedServer {
        let own = WatchedServer()
        own.token.withLock { $0 = tokens }
        let server = try await ScriptedServer { [unowned own] request, _ in own.answer(request) }
        own.state.withLock { $0.server = server }
        return own
    }

    func close() async {
        for feed in state.withLock({ $0.feeds }) { feed.cut() }
        let server = state.withLock { $0.server }
        await server?.close()
    }

    var port: Int { state.withLock { $0.server?.port ?? 0 } }
    var watches: Int { state.withLock { $0.watched.count } }
    /// From which versions it was watched.
    var watched: [String] { state.withLock { $0.watched } }
    var lists: Int { state.withLock { $0.lists } }
    var openStreams: Int { state.withLock { $0.feeds.count { $0.channel.isActive } } }

    /// False where more was said than the other side has taken so far.
    var isWritable: Bool { state.withLock { $0.feeds.allSatisfy(\.channel.isWritable) } }

    /// By name, the version of what is there.
    var contents: [String: String] { state.withLock { $0.objects } }

    @discardableResult
    func put(_ name: String, data: String = "") -> String {
        state.withLock { state in
            state.version += 1
            let type = state.objects[name] == nil ? "ADDED" : "MODIFIED"
            state.objects[name] = String(state.version)
            Self.tell(type, name, data, &state)
            return String(state.version)
        }
    }

    func delete(_ name: String) {
        state.withLock { state in
            guard state.objects.removeValue(forKey: name) != nil else { return }
            state.version += 1
            Self.tell("DELETED", name, "", &state)
        }
    }

    func bookmark() {
        state.withLock { state in
            let line = "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"ConfigMap\",\"metadata\":{\"resourceVersion\":\"\(state.version)\"}}}\n"
            for feed in state.feeds { feed.send(line) }
        }
    }

    /// Sends these bytes to all who watch.
    func say(_ text: String) { state.withLock { state in for feed in state.feeds { feed.send(text) } } }

    func endStreams() { take { $0.end() } }

    func cutStreams() { take { $0.cut() } }

    /// Nobody can watch from before now any more; who watches is told so.
    func forget(telling: Bool) {
        state.withLock { state in
            state.forgotten = state.version
            state.history = []
            guard telling else { return }
            let status = "{\"kind\":\"Status\",\"status\":\"Failure\",\"reason\":\"Expired\",\"message\":\"too old resource version\",\"code\":410}"
            for feed in state.feeds { feed.send("{\"type\":\"ERROR\",\"object\":\(status)}\n") }
            for feed in state.feeds { feed.end() }
            state.feeds = []
        }
    }

    func refuseNextWatch(_ replies: ScriptedServer.Reply...) { state.withLock { $0.refusals += replies } }

    private func take(_ body: (ScriptedServer.Feed) -> Void) {
        state.withLock { state in
            for feed in state.feeds { body(feed) }
            state.feeds = []
        }
    }

    private static func object(_ name: String, _ version: String, _ data: String) -> String {
        "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"\(name)\",\"resourceVersion\":\"\(version)\"},\"data\":{\"a\":\"\(data)\"}}"
    }

    private static func tell(_ type: String, _ name: String, _ data: String, _ state: inout State) {
        let line = "{\"type\":\"\(type)\",\"object\":\(object(name, String(state.version), data))}\n"
        state.history.append(Happening(version: state.version, line: line))
        for feed in state.feeds { feed.send(line) }
    }

    private func answer(_ request: ScriptedServer.Request) -> ScriptedServer.Reply {
        let wanted = token.withLock { $0 }
        if let wanted, request.headers["authorization"] != "Bearer \(wanted)" {
            return .answer(401, #"{"kind":"Status","code":401,"reason":"Unauthorized","message":"Unauthorized"}"#)
        }
        let parts = request.line.split(separator: " ")
        let query = APIRequest(.get, target: parts.count > 1 ? String(parts[1]) : "").query
        func parameter(_ name: String) -> String? { query.first { $0.name == name }?.value }
        return state.withLock { state in
            guard parameter("watch") == "true" else { return Self.list(parameter("limit"), parameter("continue"), &state) }
            let version = parameter("resourceVersion") ?? ""
            state.watched.append(version)
            if !state.refusals.isEmpty { return state.refusals.removeFirst() }
            let from = Int(version) ?? 0
            if from < state.forgotten {
                return .answer(410, #"{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}"#)
            }
            return .stream { [unowned self] feed in
                self.state.withLock { state in
                    feed.send(state.history.filter { $0.version > from }.map(\.line).joined())
                    state.feeds.append(feed)
                }
            }
        }
    }

    private static func list(_ limit: String?, _ next: String?, _ state: inout State) -> ScriptedServer.Reply {
        if next == nil { state.lists += 1 }
        // Real servers give all pages as of the first one. This one does not, and nothing may be missed all the same.
        let names = state.objects.keys.sorted()
        let start = next.flatMap { Int($0) } ?? 0
        let end = min(names.count, start + (limit.flatMap { Int($0) } ?? 500))
        let items = names[min(start, end)..<end].map { object($0, state.objects[$0] ?? "", "") }.joined(separator: ",")
        let more = end < names.count ? String(end) : ""
        return .answer(200, "{\"metadata\":{\"resourceVersion\":\"\(state.version)\",\"continue\":\"\(more)\"},\"items\":[\(items)]}")
    }
}

/// What somebody knows who only listens: every object by its last version, and all that was said.
final class Listener: Sendable {
    private struct State {
        var events: [WatchEvent] = []
        var store: [String: String] = [:]
        /// Every version that was ever told, by name.
        var told: [String: Set<String>] = [:]
    }

    private let state = Mutex(State())

    func hear(_ event: WatchEvent) {
        state.withLock { state in
            state.events.append(event)
            func take(_ object: Value) {
                let (name, version) = Self.nameAndVersion(object)
                state.store[name] = version
                state.told[name, default: []].insert(version)
            }
            switch event {
            case .listed(let objects):
                state.store = [:]
                objects.forEach(take)
            case .changed(let object): take(object)
            case .deleted(let object): state.store[Self.nameAndVersion(object).0] = nil
            case .restarted: break
            }
        }
    }

    private static func nameAndVersion(_ object: Value) -> (String, String) {
        let metadata = object["metadata"]
        return (metadata?["name"]?.stringValue ?? "", metadata?["resourceVersion"]?.stringValue ?? "")
    }

    var events: [WatchEvent] { state.withLock { $0.events } }
    var store: [String: String] { state.withLock { $0.store } }
    var told: [String: Set<String>] { state.withLock { $0.told } }

    var restarts: [String] { events.compactMap { if case .restarted(let why) = $0 { why } else { nil } } }
    var lists: Int { events.count { if case .listed = $0 { true } else { false } } }

    struct NeverCame: Error, CustomStringConvertible {
        var description: String
    }

    func wait(_ what: String, seconds: Int = 30, until condition: (Listener) -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(seconds)
        while !condition(self) {
            guard ContinuousClock.now < end else { throw NeverCame(description: "\(what); it heard \(events.suffix(5))") }
            try await Task.sleep(for: .milliseconds(2))
        }
    }
}
