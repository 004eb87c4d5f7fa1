import Forge
import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization
import Values

/// A forge on loopback: it keeps comments, issues, statuses and checks, holds every request to the forge's description, and has bad days on demand.
final class ForgeDouble: Sendable {
    enum Fault: Sendable, Hashable {
        /// An answer instead of what was asked for.
        case answer(Int, String = #"{"message":"no"}"#, headers: [String: String] = [:])
        /// It is done, and then said that it was not.
        case doneBut(Int)
        /// The connection ends: before anything was done, or after.
        case cut(done: Bool)
        /// Half an answer, and then the end.
        case half(done: Bool)
        /// Nothing more is ever said.
        case stall(done: Bool)
        /// A body that never ends, a byte at a time.
        case trickle
        /// These bytes as a body of status 200.
        case body(String)

        fileprivate var isDone: Bool {
            switch self {
            case .answer, .trickle, .body: false
            case .doneBut: true
            case .cut(let done), .half(let done), .stall(let done): done
            }
        }
    }

    struct Text: Sendable, Hashable {
        var id: Int
        var login: String
        var isBot = false
        var title = ""
        var body: String
        var isOpen = true
        var isSystem = false
    }

    struct Asked: Sendable, Hashable {
        var method: String
        /// With the query.
        var target: String
        var authorization: String
        var body: Value?
    }

    struct World: Sendable {
        var login = "plumb-bot"
        var isBot = false
        var token = "s3cret-token"
        /// Whether `GET /user` is forbidden, as for an installation's token.
        var hidesUser = false
        var comments: [Text] = []
        var issues: [Text] = []
        var statuses: [Value] = []
        var checks: [(id: Int, head: String, name: String, externalID: String, annotations: [Value])] = []
        var permissions: [String: String] = [:]
        var pullRequest: Value = .null
        var visibility = "private"
        /// What the server sends at most at a time, whatever is asked for.
        var largestPage = 100
        var nextID = 1000
        /// For the next requests, one each; nil: none.
        var faults: [Fault?] = []
        /// For every request that it is true for.
        var standing: (@Sendable (Asked) -> Fault?)?
        var oldName: String?
        var redirect: String?
        var headers: [String: String] = [:]
        var asked: [Asked] = []
        var complaints: [String] = []
        var tokensMade = 0
        var tokenLifetime = 3600.0
    }

    let service: ForgeService
    let port: Int
    private let channel: any Channel
    private let shared: Shared

    private final class Shared: Sendable {
        let world: Mutex<World>
        init(_ world: sending World) { self.world = Mutex(world) }
    }

    static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    static let repository = "owner/specs"

    init(_ service: ForgeService, tls: TLSConfiguration? = nil) async throws {
        let shared = Shared(World())
        let context = try tls.map { try NIOSSLContext(configuration: $0) }
        self.service = service
        channel = try await ServerBootstrap(group: Self.group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let context { try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context)) }
                    try channel.pipeline.syncOperations.addHandler(
                        DoubleHandler { line, headers, body, port in
                            shared.world.withLock { Desk(service: service, port: port).answer(line, headers, body, &$0) }
                        }
                    )
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = channel.localAddress?.port ?? 0
        self.shared = shared
    }

    var url: String { "http://127.0.0.1:\(port)" }

    func close() async { try? await channel.close().get() }

    func change<T: Sendable>(_ body: (inout World) -> T) -> T { shared.world.withLock { body(&$0) } }

    var comments: [Text] { change { $0.comments } }
    var issues: [Text] { change { $0.issues } }
    var asked: [Asked] { change { $0.asked } }
    var complaints: [String] { change { $0.complaints } }
    /// `GET /repos/…`, without queries, since the last time.
    func takeAsked() -> [String] {
        change { world in
            defer { world.asked = [] }
            return world.asked.map { "\($0.method) \($0.target.split(separator: "?").first ?? "")" }
        }
    }
}

/// What is sent back, and how it ends.
struct DoubleReply: Sendable {
    enum Ending: Sendable { case complete, close, hang, trickle }
    var bytes: String
    var ending: Ending
}

private final class DoubleHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private let answer: (String, [String: String], String, Int) -> DoubleReply
    private var received = ByteBuffer()

    init(_ answer: @escaping (String, [String: String], String, Int) -> DoubleReply) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received.writeImmutableBuffer(unwrapInboundIn(data))
        while let (line, headers, body) = takeRequest() {
            let reply = answer(line, headers, body, context.channel.localAddress?.port ?? 0)
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: reply.bytes)), promise: nil)
            switch reply.ending {
            case .complete, .hang: break
            case .close: context.close(promise: nil)
            case .trickle: Self.trickle(context.channel)
            }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private static func trickle(_ channel: any Channel) {
        let task = channel.eventLoop.scheduleRepeatedTask(initialDelay: .milliseconds(5), delay: .milliseconds(5)) { _ in
            channel.writeAndFlush(ByteBuffer(string: " "), promise: nil)
        }
        channel.closeFuture.whenComplete { _ in task.cancel() }
    }

    private func takeRequest() -> (String, [String: String], String)? {
        guard let end = received.readableBytesView.firstRange(of: Array("\r\n\r\n".utf8)) else { return nil }
        let head = String(decoding: received.readableBytesView[..<end.lowerBound], as: UTF8.self)
        let lines = head.components(separatedBy: "\r\n")
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let sides = line.split(separator: ":", maxSplits: 1)
            if sides.count == 2 { headers[sides[0].lowercased()] = sides[1].trimmingCharacters(in: .whitespaces) }
        }
        let length = headers["content-length"].flatMap { Int($0) } ?? 0
        guard received.readableBytesView[end.upperBound...].count >= length else { return nil }
        received.moveReaderIndex(to: end.upperBound)
        let body = received.readString(length: length) ?? ""
        received.discardReadBytes()
        return (lines.first ?? "", headers, body)
    }
}

/// Answers one request.
private struct Desk {
    let service: ForgeService
    let port: Int

    private var root: String {
        switch service {
        case .github: "/api/v3"
        case .gitlab: "/api/v4"
        case .gitea, .forgejo: "/api/v1"
        }
    }

    func answer(_ line: String, _ headers: [String: String], _ text: String, _ world: inout ForgeDouble.World) -> DoubleReply {
        let words = line.split(separator: " ")
        guard words.count == 3, words[1].hasPrefix(root) else {
            world.complaints.append("not below \(root): \(line)")
            return reply(404, #"{"message":"Not Found"}"#)
        }
        let target = String(words[1].dropFirst(root.count))
        let body = text.isEmpty ? nil : try? Value(json: text.utf8)
        let asked = ForgeDouble.Asked(method: String(words[0]), target: target, authorization: headers["authorization"] ?? "", body: body)
        world.asked.append(asked)
        if headers["user-agent"] == nil { world.complaints.append("no user agent") }
        if body != nil, headers["content-type"] != "application/json" {
            world.complaints.append("a body of type \(headers["content-type"] ?? "none")")
        }
        let sides = target.split(separator: "?", maxSplits: 1)
        let path = String(sides.first ?? "")
        let query = (sides.count > 1 ? sides[1] : "").split(separator: "&").map { pair in
            let parts = pair.split(separator: "=", maxSplits: 1).map { String($0).removingPercentEncoding ?? "" }
            return (parts.first ?? "", parts.count > 1 ? parts[1] : "")
        }
        let known = path.replacing("/repositories/7", with: "/repos/\(ForgeDouble.repository)")
        world.complaints += Descriptions.complaints(
            service.rawValue,
            asked.method,
            service == .gitlab ? "/api/v4\(known)" : known,
            query: query,
            body: body
        )
        if let redirect = world.redirect { return reply(301, "{}", ["Location": redirect]) }
        if let old = world.oldName, path.hasPrefix("/repos/\(old)/") {
            let rest = target.dropFirst("/repos/\(old)".count)
            return reply(asked.method == "GET" ? 301 : 307, "{}", ["Location": "http://127.0.0.1:\(port)\(root)/repositories/7\(rest)"])
        }
        let fault = world.standing?(asked) ?? (world.faults.isEmpty ? nil : world.faults.removeFirst())
        if let fault, !fault.isDone { return bad(fault, nil) }
        let good = carryOut(asked, known, query, &world)
        return fault.map { bad($0, good) } ?? good
    }

    private func bad(_ fault: ForgeDouble.Fault, _ good: DoubleReply?) -> DoubleReply {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
        switch fault {
        case .answer(let status, let body, let headers): return reply(status, body, headers)
        case .doneBut(let status): return reply(status, #"{"message":"no"}"#)
        case .cut: return DoubleReply(bytes: "", ending: .close)
        case .half: return DoubleReply(bytes: "\(head)[{\"id\":", ending: .close)
        case .stall: return DoubleReply(bytes: "", ending: .hang)
        case .trickle: return DoubleReply(bytes: head, ending: .trickle)
        case .body(let text): return reply(200, text)
        }
    }

    private func reply(_ status: Int, _ body: String, _ headers: [String: String] = [:]) -> DoubleReply {
        let lines = headers.map { "\($0.key): \($0.value)\r\n" }.joined()
        let text = status == 204 ? "" : body
        let length = status == 204 ? "" : "Content-Length: \(text.utf8.count)\r\n"
        return DoubleReply(bytes: "HTTP/1.1 \(status) X\r\nContent-Type: application/json\r\n\(length)\(lines)\r\n\(text)", ending: .complete)
    }

    private func reply(_ status: Int, _ value: Value, _ world: ForgeDouble.World) -> DoubleReply { reply(status, value.canonicalJSON, world.headers) }

    private var notFound: DoubleReply { reply(404, #"{"message":"Not Found"}"#) }

    private func user(_ login: String, isBot: Bool) -> Value {
        let id = Value.int(Int64(login.utf8.reduce(7) { $0 &* 31 &+ Int($1) } & 0xFFFF))
        return service == .gitlab
            ? ["id": id, "username": .string(login)] : ["id": id, "login": .string(login), "type": isBot ? "Bot" : "User"]
    }

    private func carryOut(
        _ asked: ForgeDouble.Asked,
        _ path: String,
        _ query: [(String, String)],
        _ world: inout ForgeDouble.World
    ) -> DoubleReply {
        let isApp = path == "/app" || path.hasPrefix("/app/") || path.hasSuffix("/installation")
        let expected = service == .gitea || service == .forgejo ? "token \(world.token)" : "Bearer \(world.token)"
        if isApp ? !asked.authorization.hasPrefix("Bearer ey") : asked.authorization != expected {
            return reply(401, #"{"message":"Bad credentials"}"#)
        }
        let project = service == .gitlab ? "/projects/owner%2Fspecs" : "/repos/\(ForgeDouble.repository)"
        if path == "/user" {
            return world.hidesUser
                ? reply(403, #"{"message":"Resource not accessible by integration"}"#) : reply(200, user(world.login, isBot: world.isBot), world)
        }
        if path == "/app" { return reply(200, ["slug": "plumb-app", "id": 1], world) }
        if path.hasPrefix("/app/installations/") {
            world.tokensMade += 1
            world.token = "installation-\(world.tokensMade)"
            let expiry = ISO8601DateFormatter().string(from: Date(timeIntervalSinceNow: world.tokenLifetime))
            return reply(201, ["token": .string(world.token), "expires_at": .string(expiry)], world)
        }
        guard path == project || path.hasPrefix("\(project)/") else { return notFound }
        let parts = path.dropFirst(project.count).split(separator: "/").map(String.init)
        let isGitLab = service == .gitlab
        switch (asked.method, parts.first, parts.count) {
        case ("GET", nil, _):
            // Each says it in its own way.
            let isPrivate = Value.bool(world.visibility == "private")
            return reply(200, isGitLab ? ["visibility": .string(world.visibility)] : ["private": isPrivate], world)
        case ("GET", "installation", 1): return reply(200, ["id": 42], world)
        case ("GET", "pulls", 1), ("GET", "merge_requests", 1): return list(world.pullRequest.arrayValue ?? [], asked, query, world)
        case ("GET", "pulls", 2), ("GET", "merge_requests", 2): return reply(200, world.pullRequest, world)
        case ("GET", "collaborators", 3), ("GET", "members", 3):
            let name = parts[isGitLab ? 2 : 1].removingPercentEncoding ?? ""
            guard let permission = world.permissions[name] else { return notFound }
            return reply(200, isGitLab ? ["access_level": .int(Int64(permission) ?? 0)] : ["permission": .string(permission)], world)
        case ("GET", "statuses", 2), ("GET", "repository", 4),
            ("GET", "commits", 3) where parts.last != "check-runs":
            let commit = parts[parts.count == 4 ? 2 : 1]
            let found = world.statuses.enumerated().reversed().filter { $0.element["commit"]?.stringValue == commit }
            return reply(200, .array(found.map { status($0.element, id: $0.offset) }), world)
        case (_, "statuses", 2):
            if let complaint = limits(ofStatus: asked.body) {
                world.complaints.append(complaint)
                return reply(422, .object(["message": .string(complaint)]), world)
            }
            var status = asked.body ?? .object([:])
            status["commit"] = .string(parts[1])
            world.statuses.append(status)
            return reply(201, ["id": 1], world)
        case (_, "check-runs", _), ("GET", "commits", 3): return checks(asked, parts, query, &world)
        case (_, "merge_requests", _): return texts(\.comments, asked, id: parts.count > 3 ? parts[3] : nil, query, &world)
        case (_, "issues", 3) where parts[1] == "comments": return texts(\.comments, asked, id: parts[2], query, &world)
        case (_, "issues", 3): return texts(\.comments, asked, id: nil, query, &world)
        case (_, "issues", _): return texts(\.issues, asked, id: parts.count > 1 ? parts[1] : nil, query, &world)
        default: return notFound
        }
    }

    /// As the forge calls its members.
    private func status(_ sent: Value, id: Int) -> Value {
        [
            "id": .int(Int64(id)), service == .gitlab ? "name" : "context": sent["context"] ?? "default",
            service == .github ? "state" : "status": sent["state"] ?? .null, "description": sent["description"] ?? .null,
            "target_url": sent["target_url"] ?? (service == .github ? .null : ""),
        ]
    }

    private func value(_ text: ForgeDouble.Text, isIssue: Bool) -> Value {
        let isGitLab = service == .gitlab
        var value: Value = ["id": .int(Int64(text.id)), isGitLab ? "author" : "user": user(text.login, isBot: text.isBot)]
        value[isGitLab && isIssue ? "description" : "body"] = .string(text.body)
        if isGitLab, !isIssue { value["system"] = .bool(text.isSystem) }
        guard isIssue else { return value }
        value[isGitLab ? "iid" : "number"] = .int(Int64(text.id))
        value["title"] = .string(text.title)
        value["state"] = .string(text.isOpen ? (isGitLab ? "opened" : "open") : "closed")
        return value
    }

    private func texts(
        _ place: WritableKeyPath<ForgeDouble.World, [ForgeDouble.Text]>,
        _ asked: ForgeDouble.Asked,
        id: String?,
        _ query: [(String, String)],
        _ world: inout ForgeDouble.World
    ) -> DoubleReply {
        let isIssue = place == \.issues
        let sent = (asked.body?[service == .gitlab && isIssue ? "description" : "body"])?.stringValue
        if let sent, sent.unicodeScalars.count > service.textLimit {
            world.complaints.append("a text of \(sent.unicodeScalars.count) characters")
            return reply(422, #"{"message":"body is too long"}"#)
        }
        if asked.method == "GET" {
            let author = query.first { ["creator", "created_by", "author_username"].contains($0.0) }?.1
            let found = world[keyPath: place].filter { author == nil || $0.login == author }
            return list(found.map { value($0, isIssue: isIssue) }, asked, query, world)
        }
        if asked.method == "POST" {
            world.nextID += 1
            let title = asked.body?["title"]?.stringValue ?? ""
            let made = ForgeDouble.Text(id: world.nextID, login: world.login, isBot: world.isBot, title: title, body: sent ?? "")
            world[keyPath: place].append(made)
            return reply(201, value(made, isIssue: isIssue), world)
        }
        guard let index = world[keyPath: place].firstIndex(where: { "\($0.id)" == id }) else { return notFound }
        guard world[keyPath: place][index].login == world.login else { return reply(403, #"{"message":"not yours"}"#) }
        if asked.method == "DELETE" {
            world[keyPath: place].remove(at: index)
            return reply(204, "")
        }
        if let sent { world[keyPath: place][index].body = sent }
        if let title = asked.body?["title"]?.stringValue { world[keyPath: place][index].title = title }
        switch (asked.body?["state"] ?? asked.body?["state_event"])?.stringValue {
        case "open", "reopen": world[keyPath: place][index].isOpen = true
        case "closed", "close": world[keyPath: place][index].isOpen = false
        default: break
        }
        return reply(200, value(world[keyPath: place][index], isIssue: isIssue), world)
    }

    private func list(_ values: [Value], _ asked: ForgeDouble.Asked, _ query: [(String, String)], _ world: ForgeDouble.World) -> DoubleReply {
        func number(_ names: String...) -> Int? { query.first { names.contains($0.0) }.flatMap { Int($0.1) } }
        // Gitea and Forgejo send all comments at once.
        let hasPages = service == .github || service == .gitlab || !asked.target.contains("/comments")
        guard hasPages else { return reply(200, .array(values), world) }
        let size = min(number("per_page", "limit") ?? 30, world.largestPage)
        let page = number("page") ?? 1
        let rest = values.dropFirst((page - 1) * size)
        var headers = world.headers
        let others = query.filter { $0.0 != "page" }.map { "\($0.0)=\($0.1)" }
        if rest.count > size {
            // As a proxy in front of it makes it: under a name and a path that are not those that were asked for.
            let next = (others + ["page=\(page + 1)"]).joined(separator: "&")
            headers["Link"] =
                "<https://inside.example/repositories/7/x?page=1>; rel=\"first\", <https://inside.example/repositories/7/x?\(next)>; rel=\"next\""
            headers["X-Next-Page"] = "\(page + 1)"
        } else if service == .gitlab {
            headers["X-Next-Page"] = ""
        }
        return reply(200, Value.array(Array(rest.prefix(size))).canonicalJSON, headers)
    }

    private func checks(_ asked: ForgeDouble.Asked, _ parts: [String], _ query: [(String, String)], _ world: inout ForgeDouble.World) -> DoubleReply {
        func value(_ check: (id: Int, head: String, name: String, externalID: String, annotations: [Value])) -> Value {
            [
                "id": .int(Int64(check.id)), "name": .string(check.name), "external_id": .string(check.externalID),
                "output": ["annotations_count": .int(Int64(check.annotations.count))],
            ]
        }
        if asked.method == "GET" {
            let name = query.first { $0.0 == "check_name" }?.1
            let found = world.checks.filter { $0.head == parts[1] && $0.name == name }.suffix(1)
            return reply(200, ["total_count": .int(Int64(found.count)), "check_runs": .array(found.map(value))], world)
        }
        let output = asked.body?["output"]
        let annotations = output?["annotations"]?.arrayValue ?? []
        let needed = ["path", "start_line", "end_line", "annotation_level", "message"]
        if annotations.count > 50 || annotations.contains(where: { annotation in needed.contains { annotation[$0] == nil } })
            || output?["title"]?.stringValue == nil || (output?["summary"]?.stringValue?.utf8.count ?? 100_000) > 65_535
        {
            world.complaints.append("a check's output as the description does not have it")
            return reply(422, #"{"message":"Invalid request"}"#)
        }
        if asked.method == "POST" {
            world.nextID += 1
            let head = asked.body?["head_sha"]?.stringValue ?? ""
            let made = (world.nextID, head, asked.body?["name"]?.stringValue ?? "", asked.body?["external_id"]?.stringValue ?? "", annotations)
            world.checks.append(made)
            return reply(201, value(made), world)
        }
        guard let index = world.checks.firstIndex(where: { "\($0.id)" == parts[1] }) else { return notFound }
        world.checks[index].annotations += annotations
        return reply(200, value(world.checks[index]), world)
    }

    private func limits(ofStatus body: Value?) -> String? {
        let description = body?["description"]?.stringValue ?? ""
        if service == .github, description.unicodeScalars.count > 140 { return "a description of \(description.unicodeScalars.count) characters" }
        let link = body?["target_url"]?.stringValue ?? ""
        if service == .gitlab, link.unicodeScalars.count > 255 { return "a link of \(link.unicodeScalars.count) characters" }
        return nil
    }
}
