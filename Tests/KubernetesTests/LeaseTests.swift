import Foundation
import KubernetesAPI
import Synchronization
import Testing
import Values

@testable import Kubernetes

/// Who may change a cluster, on a clock of the test's own.
@Suite(.timeLimit(.minutes(1))) struct LeaseTests {
    /// A server with one Lease that minds resource versions, and a clock that moves when somebody sleeps.
    fileprivate final class World: Sendable {
        struct State {
            var lease: Value?
            var version = 1
            var now = 0.0
            /// Of other clocks than ours.
            var skew = 0.0
            var log: [String] = []
            /// What happens at a time, once.
            var events: [(at: Double, run: @Sendable (inout State) -> Void)] = []
            /// An answer instead of what the server would do.
            var broken: [String: APIResponse] = [:]
            var unreachable = false
        }
        let state = Mutex(State())

        static let start = Date(timeIntervalSince1970: 1_800_000_000)

        var time: LeaseTime {
            LeaseTime(
                now: { self.state.withLock { .seconds($0.now) } },
                date: { self.state.withLock { Self.start.addingTimeInterval($0.now) } },
                sleep: { duration in
                    await Task.yield()
                    self.advance(Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18)
                }
            )
        }

        func advance(_ seconds: Double) {
            state.withLock { state in
                state.now += seconds
                let due = state.events.filter { $0.at <= state.now }
                state.events.removeAll { $0.at <= state.now }
                for event in due { event.run(&state) }
            }
        }

        func send(_ request: APIRequest) throws(APIFailure) -> APIResponse {
            let response: APIResponse? = state.withLock { state in
                state.log.append("\(request.method.rawValue) \(request.body?[path: "spec", "holderIdentity"]?.stringValue ?? "")")
                if state.unreachable { return nil }
                if let broken = state.broken[request.method.rawValue] { return broken }
                switch request.method {
                case .get: return state.lease.map { APIResponse(status: 200, body: $0) } ?? Self.status(404, "NotFound", name: "plumb-apply")
                case .post where state.lease != nil: return Self.status(409, "AlreadyExists")
                case .put where state.lease == nil: return Self.status(404, "NotFound", name: "plumb-apply")
                case .put where request.body?[path: "metadata", "resourceVersion"] != state.lease?[path: "metadata", "resourceVersion"]:
                    return Self.status(409, "Conflict")
                default:
                    state.write(request.body ?? .null)
                    return APIResponse(status: 200, body: state.lease ?? .null)
                }
            }
            guard let response else { throw APIFailure(.unreachable, "no route to host") }
            return response
        }

        static func status(_ code: Int, _ reason: String, name: String = "", message: String = "") -> APIResponse {
            APIResponse(
                status: code,
                body: ["kind": "Status", "reason": .string(reason), "message": .string(message), "details": ["name": .string(name)]]
            )
        }

        func lease(_ holder: String) -> ClusterLease {
            let claim = ApplyLease.Claim(holder: holder, details: "{}", duration: 30)
            return ClusterLease(claim, time: time) { (request) throws(APIFailure) in try self.send(request) }
        }

        /// Held by somebody else, renewed that many seconds ago on a clock like ours.
        func hold(_ holder: String, renewed ago: Double, labels: Value = [:]) {
            state.withLock { state in
                let renewed = ClusterLease.text(Self.start.addingTimeInterval(state.now - ago))
                state.write([
                    "metadata": ["name": "plumb-apply", "labels": labels],
                    "spec": ["holderIdentity": .string(holder), "leaseDurationSeconds": 30, "renewTime": .string(renewed), "leaseTransitions": 4],
                ])
            }
        }

        var holder: String { state.withLock { $0.lease?[path: "spec", "holderIdentity"]?.stringValue ?? "nobody" } }
    }

    private func take(
        _ lease: ClusterLease,
        patience: Duration = .zero,
        dead: Set<String> = [],
        tell: @escaping @Sendable (ApplyLease) -> Void = { _ in }
    ) async -> String {
        switch await lease.take(patience: patience, isDead: { dead.contains($0.holder) }, tell: tell) {
        case .held: "held"
        case .taken(let other): "taken by \(other.holder)"
        case .refused(let status, let verb): "refused \(verb) \(status.code)"
        case .failed(let failure): "failed \(failure.message)"
        }
    }

    @Test func `It is made, renewed, and given back`() async {
        let world = World()
        let lease = world.lease("alice")
        #expect(await take(lease) == "held")
        #expect(world.holder == "alice")
        for _ in 0..<1000 where world.state.withLock({ $0.now }) < 300 { await Task.yield() }
        #expect(await lease.objection == nil)
        await lease.release()
        #expect(world.holder == "")
        let puts = world.state.withLock { $0.log.count { $0 == "PUT alice" } }
        #expect(puts >= 1)
        #expect(await take(world.lease("bob")) == "held")
    }

    @Test func `A server that always says somebody was first is not asked for ever`() async {
        let world = World()
        world.state.withLock { $0.broken["POST"] = World.status(409, "Conflict") }
        #expect(await take(world.lease("alice")) == "refused create 409")
        #expect(world.state.withLock { $0.log.count { $0.hasPrefix("POST") } } == 20)
    }

    @Test func `Somebody who lives is not robbed`() async {
        let world = World()
        world.hold("alice", renewed: 3)
        #expect(await take(world.lease("bob")) == "taken by alice")
        #expect(world.holder == "alice")
        #expect(world.state.withLock { $0.log } == ["GET "])
    }

    @Test(arguments: [-100_000.0, 20, 100_000]) func `Somebody whose clock is wrong and who lives is not robbed`(ago: Double) async {
        let world = World()
        world.hold("alice", renewed: ago)
        world.state.withLock { state in
            state.events = [(10, { state in state.renew("alice", ago: ago) })]
        }
        #expect(await take(world.lease("bob")) == "taken by alice")
        #expect(world.state.withLock { $0.now } >= 10)
    }

    @Test(arguments: [-100_000.0, 20, 100_000]) func `Somebody who died is waited for on our clock, and said to be`(ago: Double) async {
        let world = World()
        world.hold("alice", renewed: ago, labels: ["kept": "yes"])
        let told = Mutex<[String]>([])
        let lease = world.lease("bob")
        #expect(await take(lease, tell: { other in told.withLock { $0.append(other.holder) } }) == "held")
        #expect(told.withLock { $0 } == ["alice"])
        #expect(world.state.withLock { $0.now } >= 30)
        world.state.withLock { state in
            #expect(state.lease?[path: "metadata", "labels", "kept"] == "yes")
            #expect(state.lease?[path: "spec", "leaseTransitions"] == 5)
        }
        await lease.release()
    }

    @Test func `Nobody is waited for after an interruption`() async {
        let world = World()
        world.hold("alice", renewed: 20)
        let ending = await world.lease("bob").take(patience: .seconds(600), isDead: { _ in false }, isGivenUp: { true }, tell: { _ in })
        guard case .taken(let other) = ending else {
            Issue.record("\(ending)")
            return
        }
        #expect(other.holder == "alice")
        #expect(world.state.withLock { $0.now } < 1)
    }

    @Test func `Somebody who is known to be dead is followed at once`() async {
        let world = World()
        world.hold("alice", renewed: 1)
        let lease = world.lease("bob")
        #expect(await take(lease, dead: ["alice"]) == "held")
        #expect(world.state.withLock { $0.log.prefix(2) } == ["GET ", "PUT bob"])
        await lease.release()
    }

    @Test func `With patience it is waited for`() async {
        let world = World()
        world.hold("alice", renewed: 1)
        world.state.withLock { state in
            state.events = [(8, { state in state.renew("alice", ago: 0) }), (15, { state in state.renew("", ago: 0) })]
        }
        let lease = world.lease("bob")
        #expect(await take(lease, patience: .seconds(60)) == "held")
        await lease.release()
    }

    @Test func `Of two at the same moment one gets it`() async {
        let world = World()
        world.hold("", renewed: 0)
        let old = world.state.withLock { $0.lease } ?? .null
        let claim = ApplyLease.Claim(holder: "bob", details: "", duration: 30)
        // Both have read it; alice writes first.
        world.hold("alice", renewed: 0)
        var machine = LeaseClaim(claim, patience: .zero, now: .zero)
        func step(_ response: APIResponse, _ method: APIRequest.Method) -> LeaseClaim.Order {
            machine.take(response, to: method, now: .zero, time: "t", age: { _ in .seconds(1) }, isDead: { _ in false })
        }
        guard case .send(let put) = step(APIResponse(status: 200, body: old), .get), let answer = try? world.send(put) else {
            Issue.record("no attempt")
            return
        }
        #expect(answer.status == 409)
        #expect(step(answer, .put) == .send(ApplyLease.read))
        guard case .taken(let by) = step(APIResponse(status: 200, body: world.state.withLock { $0.lease } ?? .null), .get) else {
            Issue.record("two at once")
            return
        }
        #expect(by.holder == "alice")
    }

    @Test(arguments: [("GET", "get"), ("POST", "create")]) func `A missing right is a refusal`(method: String, verb: String) async {
        let world = World()
        let text = "leases.coordination.k8s.io is forbidden: User \"u\" cannot \(verb) resource \"leases\""
        world.state.withLock { $0.broken[method] = World.status(403, "Forbidden", message: text) }
        #expect(await take(world.lease("alice")) == "refused \(verb) 403")
    }

    @Test func `Whoever can't renew it says so before others may take it`() async {
        let world = World()
        let lease = world.lease("alice")
        #expect(await take(lease) == "held")
        world.state.withLock { $0.unreachable = true }
        let begin = world.state.withLock { $0.now }
        while await lease.objection == nil, world.state.withLock({ $0.now }) < begin + 100 { await Task.yield() }
        let objection = await lease.objection ?? ""
        #expect(objection.contains("could not be renewed") && objection.contains("no route to host"), "\(objection)")
        // And when the server is back and nobody took it, all is well again.
        world.state.withLock { $0.unreachable = false }
        for _ in 0..<10_000 where await lease.objection != nil { await Task.yield() }
        #expect(await lease.objection == nil)
        await lease.release()
        #expect(world.holder == "")
    }

    @Test func `Whoever was robbed says by whom`() async {
        let world = World()
        let lease = world.lease("alice")
        #expect(await take(lease) == "held")
        world.hold("bob", renewed: 0)
        for _ in 0..<10_000 where await lease.objection == nil { await Task.yield() }
        #expect(await lease.objection == "bob has taken it over")
        await lease.release()
        #expect(world.holder == "bob")
    }

    @Test func `A renewal whose answer was lost is found again`() async {
        let world = World()
        let lease = world.lease("alice")
        #expect(await take(lease) == "held")
        // As if it had got through: still ours, in a newer version.
        world.state.withLock {
            $0.version += 1
            $0.write($0.lease ?? .null)
        }
        let begin = world.state.withLock { $0.now }
        while world.state.withLock({ $0.now }) < begin + 60 { await Task.yield() }
        #expect(await lease.objection == nil)
        await lease.release()
        #expect(world.holder == "")
    }

    @Test func `Times are read as servers write them`() {
        let date = Date(timeIntervalSince1970: 1_800_000_000.25)
        #expect(ClusterLease.text(date) == "2027-01-15T08:00:00.250000Z")
        for text in ["2027-01-15T08:00:00.250000Z", "2027-01-15T08:00:00.25Z", "2027-01-15T08:00:00.250Z"] {
            #expect(ClusterLease.date(text) == date, "\(text)")
        }
        #expect(ClusterLease.date("2027-01-15T08:00:00Z") == Date(timeIntervalSince1970: 1_800_000_000))
        for text in ["", "x", ".", "2027.", "\u{1B}[31m"] { #expect(ClusterLease.date(text) == nil) }
    }
}

extension LeaseTests.World.State {
    fileprivate mutating func write(_ body: Value) {
        version += 1
        var lease = body
        var metadata = body["metadata"] ?? [:]
        metadata["resourceVersion"] = .string(String(version))
        lease["metadata"] = metadata
        self.lease = lease
    }

    fileprivate mutating func renew(_ holder: String, ago: Double) {
        var lease = lease ?? [:]
        var spec = lease["spec"] ?? [:]
        spec["holderIdentity"] = .string(holder)
        spec["renewTime"] = .string(ClusterLease.text(LeaseTests.World.start.addingTimeInterval(now - ago)))
        lease["spec"] = spec
        write(lease)
    }
}
