import KubernetesAPI
import NIOCore
import Testing
import Values

@testable import Kubernetes

/// What is asked next, without a server.
struct WatchCourseTests {
    static let maps = APIResource(groupVersion: GroupVersion("v1"), kind: "ConfigMap", plural: "configmaps", isNamespaced: true)
    private static let watch = ObjectWatch(maps, namespace: "n")

    private static func page(_ names: [String], version: String?, next: String = "") -> APIResponse {
        var metadata: Value = ["continue": .string(next)]
        metadata["resourceVersion"] = version.map(Value.string)
        return APIResponse(status: 200, body: ["items": .array(names.map { ["metadata": ["name": .string($0)]] }), "metadata": metadata])
    }

    private static func line(_ type: String, version: String) -> Value {
        ["type": .string(type), "object": ["metadata": ["name": "a", "resourceVersion": .string(version)]]]
    }

    private static func listed(_ version: String = "10") throws -> WatchCourse {
        var course = WatchCourse(watch)
        _ = try course.take(page: page([], version: version))
        return course
    }

    @Test func requestsSayWhatIsMeant() {
        let role = APIResource(
            groupVersion: GroupVersion("rbac.authorization.k8s.io/v1"),
            kind: "ClusterRole",
            plural: "clusterroles",
            isNamespaced: false
        )
        #expect(Self.watch.list(limit: 500).target == "/api/v1/namespaces/n/configmaps?limit=500")
        #expect(
            Self.watch.request(from: "7", lifetime: 300).target
                == "/api/v1/namespaces/n/configmaps?watch=true&resourceVersion=7&allowWatchBookmarks=true&timeoutSeconds=300"
        )
        let one = ObjectWatch(role, name: "system:a=b,c\\")
        #expect(
            one.list(limit: 1, after: "x").target
                == "/apis/rbac.authorization.k8s.io/v1/clusterroles?limit=1&continue=x&fieldSelector=metadata.name%3Dsystem%3Aa%5C%3Db%5C%2Cc%5C%5C"
        )
        #expect(one.words == "clusterroles.rbac.authorization.k8s.io system:a=b,c\\")
        #expect(Self.watch.words == "configmaps in n")
        var other = Self.maps
        other.verbs = ["watch"]
        #expect(ObjectWatch(other, namespace: "n") == Self.watch)
    }

    @Test func aListIsToldWhenItIsWhole() throws {
        var course = WatchCourse(Self.watch)
        #expect(course.order == .list(next: nil))
        #expect(try course.take(page: Self.page(["a"], version: "9", next: "more")) == nil)
        #expect(course.order == .list(next: "more"))
        // One that moved on between its pages: what happened since the first one is asked for again.
        let event = try course.take(page: Self.page(["b"], version: "12"))
        func object(_ name: String) -> Value { ["apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": .string(name)]] }
        #expect(event == .listed([object("a"), object("b")]))
        #expect(course.order == .watch(version: "9"))
    }

    @Test func forgottenPagesAreListedAnew() throws {
        var course = WatchCourse(Self.watch)
        _ = try course.take(page: Self.page(["a"], version: "9", next: "more"))
        let status = try #require(APIStatus(APIResponse(status: 410, body: ["reason": "Expired"])))
        #expect(course.refuse(status).contains("410"))
        #expect(course.order == .list(next: nil))
        // What was read of the first attempt is not told twice.
        guard case .listed(let objects)? = try course.take(page: Self.page(["a", "b"], version: "12")) else { throw Unexpected() }
        #expect(objects.count == 2)
    }

    private struct Unexpected: Error {}

    @Test func aListWithoutAVersionIsNone() throws {
        var course = WatchCourse(Self.watch)
        #expect(throws: APIFailure.self) { try course.take(page: Self.page(["a"], version: nil)) }
        #expect(throws: APIFailure.self) { try course.take(page: APIResponse(status: 200, body: ["kind": "APIVersions"])) }
        #expect(course.order == .list(next: nil))
        #expect(course.delay(chance: 1) > .zero)
    }

    @Test(arguments: ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"])
    func everyLineMovesTheVersion(type: String) throws {
        var course = try Self.listed()
        let taken = course.take(line: Self.line(type, version: "11"), after: .zero)
        let object = try #require(Self.line(type, version: "11")["object"])
        switch type {
        case "DELETED": #expect(taken == .event(.deleted(object)))
        case "BOOKMARK": #expect(taken == .bookmark)
        default: #expect(taken == .event(.changed(object)))
        }
        #expect(course.order == .watch(version: "11"))
        #expect(course.hasBookmarks == (type == "BOOKMARK"))
        course.end(after: .seconds(300))
        #expect(course.order == .watch(version: "11"))
        #expect(course.delay(chance: 1) == .zero)
    }

    @Test func whatCantBeReadIsListedAnew() throws {
        let lines: [Value] = [
            ["type": "ERROR", "object": ["code": 410, "reason": "Expired", "message": "too old resource version: 1 (2)"]],
            ["type": "ERROR", "object": ["code": 500, "message": "etcd"]], ["type": "ERROR"], ["type": "ADDED", "object": [:]], [:], "text",
            Self.line("RENAMED", version: "11"),
        ]
        for line in lines {
            var course = try Self.listed()
            guard case .over(let why) = course.take(line: line, after: .zero) else { throw Unexpected() }
            #expect(!why.isEmpty)
            #expect(course.order == .list(next: nil), "\(line)")
        }
    }

    @Test func patienceGrowsAndEnds() throws {
        var course = try Self.listed()
        var delays: [Duration] = []
        for _ in 0..<20 {
            course.end(after: .zero)
            delays.append(course.delay(chance: 1))
            #expect(course.delay(chance: 0) <= course.delay(chance: 1))
        }
        #expect(delays.prefix(4) == [.zero, .milliseconds(200), .milliseconds(400), .milliseconds(800)])
        #expect(delays.last == .seconds(30))
        // One that brings something and then ends is asked a few times a second.
        for _ in 0..<20 {
            _ = course.take(line: Self.line("BOOKMARK", version: "10"), after: .zero)
            course.end(after: .zero)
            #expect(course.delay(chance: 1) == .milliseconds(400))
        }
        _ = course.take(line: Self.line("BOOKMARK", version: "10"), after: .seconds(2))
        #expect(course.delay(chance: 1) == .zero)
    }

    @Test func aServerMayAskForPatience() throws {
        var course = try Self.listed()
        let status = try #require(APIStatus(APIResponse(status: 429, body: [:])))
        _ = course.refuse(status, retryAfter: .seconds(7))
        #expect(course.delay(chance: 0) == .seconds(7))
        #expect(course.order == .watch(version: "10"))
        _ = course.refuse(status, retryAfter: .seconds(86_400))
        #expect(course.delay(chance: 0) == .seconds(120))
        _ = try course.take(page: Self.page([], version: "12"))
        #expect(course.delay(chance: 0) < .seconds(1))
    }

    /// However the bytes are cut into pieces, the lines are the same, and half a line is none.
    @Test func linesDoNotDependOnTheirPieces() {
        let lines = (0..<60).map { index in String(repeating: "é\(index)", count: index % 7 + 1) }
        let text = Array((lines.joined(separator: "\n") + "\n\nhalf").utf8)
        for size in 1...97 {
            var reader = LineReader(longest: 1 << 20)
            var found: [String] = []
            for start in stride(from: 0, to: text.count, by: size) {
                reader.take(ByteBuffer(bytes: text[start..<min(start + size, text.count)]))
                while let line = reader.next() { found.append(String(decoding: line, as: UTF8.self)) }
            }
            #expect(found == lines, "in pieces of \(size)")
        }
        var reader = LineReader(longest: 10)
        reader.take(ByteBuffer(string: "0123456789"))
        #expect(reader.next() == nil && !reader.isTooLong)
        reader.take(ByteBuffer(string: "0"))
        #expect(reader.next() == nil && reader.isTooLong)
    }
}
