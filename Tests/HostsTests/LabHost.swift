import Foundation
import Testing

@testable import Hosts

/// A real host of the lab that `Tests/run` starts around the tests, of a test's own: see Tests/Lab/README.md.
struct LabHost {
    let name: String
    private let environment = ProcessInfo.processInfo.environment

    struct Missing: Error, CustomStringConvertible {
        let description = "this test needs the lab: run it with Tests/run --filter HostsTests"
    }

    /// Runs `body` with a host that is gone afterwards.
    static func with(_ name: String, like variant: String? = nil, _ body: (LabHost) async throws -> Void) async throws {
        let host = LabHost(name: name)
        // A test that can't run has failed.
        guard host.environment["LAB_SSH_CONFIG"] != nil else { throw Missing() }
        try host.add(like: variant)
        defer { _ = try? Programs.run(["lab", "remove", name]) }
        try await body(host)
    }

    var options: HostPoolOptions {
        var options = HostPoolOptions()
        options.identityFile = environment["LAB_IDENTITY"]
        options.knownHostsFile = environment["LAB_KNOWN_HOSTS"]
        options.sshConfigFile = environment["LAB_SSH_CONFIG"]
        return options
    }

    func login(_ user: String = "pi", sudo: Bool = true) -> HostLogin {
        HostLogin(name: name, address: name, user: user, usesSudo: sudo)
    }

    func lab(_ command: String) throws { try Self.lab([command, name]) }

    func add(like variant: String? = nil) throws { try Self.lab(["add", name] + (variant.map { ["--like", $0] } ?? [])) }

    /// Its sshd, which stays, gets none of our pipes, of which we would wait for the end.
    private static func lab(_ arguments: [String]) throws {
        let script = """
            for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-"; done
            out=$(mktemp); lab "$@" >"$out" 2>&1 </dev/null; status=$?; cat "$out"; rm "$out"; exit "$status"
            """
        try Programs.run(["bash", "-c", script, "bash"] + arguments)
    }

    /// As root on the host, past SSH.
    @discardableResult
    func exec(_ arguments: String..., input: String? = nil) throws -> String { try Programs.run(["lab", "exec", name] + arguments, input: input) }

    /// What a monitor has started and is still there.
    var monitors: [String] {
        let text = (try? exec("sh", "-c", "ps -eo user:16,args | grep -E '[m]onitor( link)?$|[t]imeout --foreground|[h]ead -n 1$'; :")) ?? "?"
        return text.split(separator: "\n").map(String.init)
    }
}

/// What a host told, to be waited for.
actor HostEvents {
    struct Told: Sendable {
        var event: HostEvent
        /// Nanoseconds since 1970, when it came.
        var time: Int
    }

    private(set) var all: [Told] = []
    private var task: Task<Void, Never>?
    private var isOver = false

    /// Follows until `stop`.
    init(_ pool: HostPool, _ login: HostLogin, sources: Set<HostEventSource> = Set(HostEventSource.allCases)) async {
        let (stream, continuation) = AsyncStream<Told>.makeStream()
        task = Task {
            async let following: Void = {
                await pool.follow(login, sources: sources) { continuation.yield(Told(event: $0, time: now())) }
                continuation.finish()
            }()
            for await told in stream { self.note(told) }
            await following
            self.end()
        }
    }

    private func note(_ told: Told) { all.append(told) }

    private func end() { isOver = true }

    /// The first event from `index` on for which `answer` is something; a test that waits in vain fails after a minute.
    func first<Answer: Sendable>(
        from index: Int = 0,
        _ comment: Comment,
        at location: SourceLocation = #_sourceLocation,
        _ answer: @Sendable (HostEvent) -> Answer?
    ) async throws -> (answer: Answer, index: Int, time: Int) {
        let end = ContinuousClock.now + .seconds(60)
        var next = index
        while ContinuousClock.now < end {
            while next < all.count {
                if let found = answer(all[next].event) { return (found, next, all[next].time) }
                next += 1
            }
            try await Task.sleep(for: .milliseconds(2))
        }
        Issue.record("\(comment): \(all.suffix(20).map(\.event))", sourceLocation: location)
        throw LabHost.Missing()
    }

    func connected(
        from index: Int = 0,
        at location: SourceLocation = #_sourceLocation
    ) async throws -> (answer: HostEventSources, index: Int, time: Int) {
        try await first(from: index, "never connected", at: location) { if case .connected(let sources) = $0 { sources } else { nil } }
    }

    var count: Int { all.count }

    /// Ends it and waits until it has ended.
    func stop() async {
        task?.cancel()
        await task?.value
    }

    /// Whether it ends by itself: at the latest when the pause before the next try is over, which is up to 30 s long.
    func ends() async throws -> Bool {
        for _ in 0..<4500 {
            if isOver { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return false
    }
}

private func now() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Waits for something of the world; false after ten seconds.
func eventually(_ condition: () throws -> Bool) async throws -> Bool {
    for _ in 0..<200 {
        if try condition() { return true }
        try await Task.sleep(for: .milliseconds(50))
    }
    return false
}
