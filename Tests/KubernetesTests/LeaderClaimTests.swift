import KubernetesAPI
import Testing
import Values

/// One of several leads, in a world of its own time: each process has another clock, the network delays, loses and cuts off, people interfere.
struct LeaderClaimTests {
    @Test func `Never do two lead, whatever happens`() {
        var terms = 0
        var longest = Duration.zero
        for seed in 0..<60 {
            var world = World(seed: UInt64(seed), isRough: true)
            world.run(until: .seconds(240))
            #expect(world.violations.isEmpty, "seed \(seed): \(world.violations.first ?? "")")
            terms += world.elections
            // Quiet again: exactly one.
            world.isRough = false
            world.cutOff.removeAll()
            world.run(until: .seconds(300))
            #expect(world.violations.isEmpty, "seed \(seed): \(world.violations.first ?? "")")
            #expect(world.leaders.count == 1, "seed \(seed): \(world.leaders) lead after a minute of quiet")
            longest = max(longest, world.longestGap)
        }
        // A test in which nothing changes hands shows nothing.
        #expect(terms > 200, "only \(terms) elections")
        print("\(terms) elections in 60 worlds of 300 s; never two leaders; at most \(longest.components.seconds) s without one")
    }

    @Test func `One that is killed is followed within fifteen seconds`() {
        var worst = Duration.zero
        for seed in 0..<40 {
            var world = World(seed: UInt64(seed), isRough: false)
            world.run(until: .seconds(30))
            guard let leader = world.leaders.first else {
                Issue.record("seed \(seed): nobody leads")
                continue
            }
            let killed = world.now
            world.kill(leader)
            while world.leaders.isEmpty, world.now < killed + .seconds(60) { world.run(until: world.now + .milliseconds(10)) }
            worst = max(worst, world.now - killed)
        }
        #expect(worst < .seconds(15), "\(worst)")
    }

    @Test func `One that gives it back is followed at once`() {
        for seed in 0..<50 {
            var world = World(seed: UInt64(seed), isRough: false)
            world.run(until: .seconds(30))
            guard let leader = world.leaders.first else {
                Issue.record("seed \(seed): nobody leads")
                continue
            }
            let end = world.now
            world.release(leader)
            while world.leaders.isEmpty, world.now < end + .seconds(60) { world.run(until: world.now + .milliseconds(10)) }
            #expect(world.now - end < .milliseconds(1500), "seed \(seed): \(world.now - end)")
        }
    }

    @Test func `A leader that is cut off stops after six seconds of its own clock and says why`() {
        var claim = LeaderClaim(at: .test, identity: "a")
        let server = Server()
        lead(&claim, server, from: .zero)
        let start = claim.leadsUntil ?? .zero
        var now = start - .seconds(4)
        while claim.isLeading(at: now) {
            switch claim.next(now: now, time: "t") {
            case .wait(let pause): now += pause
            case .send(let request, let limit):
                let sent = now
                now += limit
                claim.take(.failure("no route to host"), of: request, sent: sent, now: now)
            }
        }
        #expect(now == start)
        _ = claim.next(now: now, time: "t")
        #expect(claim.leadership == .lost("Lease plumb/plumb-controller could not be renewed within 6 s: no route to host"))
    }

    @Test func `An answer that comes too late makes no leader`() {
        var claim = LeaderClaim(at: .test, identity: "a")
        var server = Server()
        server.write(["spec": ["holderIdentity": "", "leaseDurationSeconds": 1]])
        guard case .send(let read, _) = claim.next(now: .zero, time: "t") else { return #expect(Bool(false)) }
        claim.take(.answer(server.answer(read)), of: read, sent: .zero, now: .zero)
        guard case .send(let first, _) = claim.next(now: .zero, time: "t"), first.method == .put else { return #expect(Bool(false)) }
        let now = Duration.seconds(6)
        claim.take(.answer(server.answer(first)), of: first, sent: .zero, now: now)
        #expect(!claim.isLeading(at: now))
        // It is ours all the same, and is taken anew.
        guard case .send(let take, _) = claim.next(now: now, time: "t"), take.method == .put else { return #expect(Bool(false)) }
        claim.take(.answer(server.answer(take)), of: take, sent: now, now: now)
        #expect(claim.leadership == .leading(term: 2))
    }

    @Test func `Whoever was robbed says by whom, and a missing right is named`() {
        var claim = LeaderClaim(at: .test, identity: "a")
        var server = Server()
        lead(&claim, server, from: .zero)
        server.write(["spec": ["holderIdentity": "b", "leaseDurationSeconds": 10]])
        let now = (claim.leadsUntil ?? .zero) - .seconds(3)
        guard case .send(let renew, _) = claim.next(now: now, time: "t") else { return #expect(Bool(false)) }
        claim.take(.answer(server.answer(renew)), of: renew, sent: now, now: now)
        let later = now + .seconds(1)
        guard case .send(let read, _) = claim.next(now: later, time: "t") else { return #expect(Bool(false)) }
        claim.take(.answer(server.answer(read)), of: read, sent: later, now: later)
        #expect(!claim.isLeading(at: later))
        #expect(claim.leadership == .following(leader: "b"))

        var other = LeaderClaim(at: .test, identity: "c")
        let text = "leases.coordination.k8s.io \"x\" is forbidden: User \"u\" cannot get resource \"leases\" in API group"
        let refused = APIResponse(status: 403, body: ["reason": "Forbidden", "message": .string(text)])
        guard case .send(let first, _) = other.next(now: .zero, time: "t") else { return #expect(Bool(false)) }
        other.take(.answer(refused), of: first, sent: .zero, now: .zero)
        let message = "user u may not get leases.coordination.k8s.io in namespace plumb; 'plumb rbac' prints the rights that are needed"
        #expect(other.leadership == .lost(message))
    }

    private func lead(_ claim: inout LeaderClaim, _ server: Server, from start: Duration) {
        var server = server
        var now = start
        while !claim.isLeading(at: now), now < start + .seconds(60) {
            switch claim.next(now: now, time: "t") {
            case .wait(let pause): now += pause
            case .send(let request, _): claim.take(.answer(server.answer(request)), of: request, sent: now, now: now)
            }
        }
        #expect(claim.isLeading(at: now))
    }
}

extension Lease.Place {
    static let test = Lease.Place(namespace: "plumb", name: "plumb-controller")
}

/// One Lease, with the server's own rules about versions.
private struct Server {
    var lease: Value?
    private var version = 0

    mutating func write(_ body: Value) {
        version += 1
        var body = body
        var metadata = body["metadata"] ?? [:]
        metadata["resourceVersion"] = .string(String(version))
        body["metadata"] = metadata
        lease = body
    }

    mutating func answer(_ request: APIRequest) -> APIResponse {
        switch request.method {
        case .get: return lease.map { APIResponse(status: 200, body: $0) } ?? Self.status(404, "NotFound")
        case .post where lease != nil: return Self.status(409, "AlreadyExists")
        case .put where lease == nil: return Self.status(404, "NotFound")
        case .put where request.body?[path: "metadata", "resourceVersion"] != lease?[path: "metadata", "resourceVersion"]:
            return Self.status(409, "Conflict")
        default:
            write(request.body ?? .null)
            return APIResponse(status: 200, body: lease ?? .null)
        }
    }

    static func status(_ code: Int, _ reason: String) -> APIResponse {
        APIResponse(status: code, body: ["kind": "Status", "reason": .string(reason), "details": ["name": "plumb-controller"]])
    }
}

private struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

private struct World {
    private struct Process {
        var claim: LeaderClaim
        /// Its clock is `offset + rate × true time`.
        var offset: Duration
        var rate: Double
        var isAlive = true
        var request: Int?

        func clock(_ now: Duration) -> Duration { offset + now * rate }
    }

    private enum Event {
        case step(Int)
        case arrive(Int, request: Int, APIRequest)
        case answer(Int, request: Int, APIRequest, sent: Duration, APIResponse?)
        case interfere
    }

    private var random: SeededGenerator
    private var server = Server()
    private var processes: [Process] = []
    private var queue: [(at: Duration, number: Int, event: Event)] = []
    private var sentAt: [Int: Duration] = [:]
    private var numbers = 0
    private(set) var now = Duration.zero
    private(set) var violations: [String] = []
    private(set) var elections = 0
    private(set) var longestGap = Duration.zero
    private var last: Int?
    private var lastLed = Duration.zero
    var isRough: Bool
    var cutOff: Set<Int> = []

    init(seed: UInt64, isRough: Bool) {
        random = SeededGenerator(state: seed)
        self.isRough = isRough
        for _ in 0..<3 { start() }
        add(.interfere, after: .seconds(5))
    }

    var leaders: [Int] { processes.indices.filter { processes[$0].isAlive && processes[$0].claim.isLeading(at: processes[$0].clock(now)) } }

    private mutating func start() {
        processes.append(
            Process(
                claim: LeaderClaim(at: .test, identity: "process-\(processes.count)"),
                offset: .milliseconds(Int.random(in: 0...100_000_000, using: &random)),
                rate: Double.random(in: 0.9...1.1, using: &random)
            )
        )
        add(.step(processes.count - 1), after: .milliseconds(Int.random(in: 0...3000, using: &random)))
    }

    mutating func kill(_ index: Int) { processes[index].isAlive = false }

    mutating func release(_ index: Int) {
        if let request = processes[index].claim.release(time: "t") { _ = server.answer(request) }
        kill(index)
    }

    private mutating func add(_ event: Event, after delay: Duration) {
        numbers += 1
        queue.append((now + delay, numbers, event))
    }

    mutating func run(until end: Duration) {
        while let next = queue.indices.min(by: { (queue[$0].at, queue[$0].number) < (queue[$1].at, queue[$1].number) }), queue[next].at <= end {
            let (at, _, event) = queue.remove(at: next)
            now = at
            handle(event)
            check()
        }
        now = end
        check()
    }

    private mutating func check() {
        let leaders = leaders
        if leaders.count > 1 { violations.append("\(leaders) lead at \(now)") }
        guard let leader = leaders.first else { return }
        if leader != last { elections += 1 }
        longestGap = max(longestGap, now - lastLed)
        last = leader
        lastLed = now
    }

    private mutating func chance(_ probability: Double) -> Bool { isRough && Double.random(in: 0..<1, using: &random) < probability }

    private mutating func delay() -> Duration {
        if chance(0.05) { return .milliseconds(Int.random(in: 100...15_000, using: &random)) }
        return .milliseconds(Int.random(in: 1...40, using: &random))
    }

    private mutating func handle(_ event: Event) {
        switch event {
        case .step(let index): step(index)
        case .arrive(let index, let id, let request):
            // A request that was on its way when its sender was cut off, gave up or died is carried out all the same.
            let answer = chance(0.02) ? Server.status(500, "InternalError") : server.answer(request)
            guard !cutOff.contains(index), !chance(0.03) else { return }
            add(.answer(index, request: id, request, sent: sentAt[id] ?? .zero, answer), after: delay())
        case .answer(let index, let id, let request, let sent, let response):
            guard processes[index].isAlive, processes[index].request == id else { return }
            processes[index].request = nil
            let clock = processes[index].clock(now)
            let outcome = response.map { LeaderClaim.Outcome.answer($0) } ?? .failure("no answer")
            processes[index].claim.take(outcome, of: request, sent: sent, now: clock)
            // The process itself may be stopped for a while.
            add(.step(index), after: chance(0.01) ? .milliseconds(Int.random(in: 100...20_000, using: &random)) : .milliseconds(1))
        case .interfere:
            interfere()
            add(.interfere, after: .milliseconds(Int.random(in: 500...20_000, using: &random)))
        }
    }

    private mutating func step(_ index: Int) {
        guard processes[index].isAlive, processes[index].request == nil else { return }
        let clock = processes[index].clock(now)
        // What it writes as the time of day is any: clocks are set back and forth.
        switch processes[index].claim.next(now: clock, time: "time \(random.next())") {
        case .wait(let pause): add(.step(index), after: pause * (1 / processes[index].rate) + .microseconds(1))
        case .send(let request, let limit):
            numbers += 1
            let id = numbers
            processes[index].request = id
            sentAt[id] = clock
            if !cutOff.contains(index), !chance(0.03) { add(.arrive(index, request: id, request), after: delay()) }
            add(.answer(index, request: id, request, sent: clock, nil), after: limit * (1 / processes[index].rate))
        }
    }

    private mutating func interfere() {
        guard isRough else { return }
        switch Int.random(in: 0..<8, using: &random) {
        case 0, 1: cutOff.insert(Int.random(in: 0..<processes.count, using: &random))
        case 2, 3: cutOff.removeAll()
        case 4:
            let index = leaders.first ?? Int.random(in: 0..<processes.count, using: &random)
            if chance(0.5) { release(index) } else { kill(index) }
            start()
        case 5: server.lease = nil
        case 6:
            // Somebody empties it by hand, and its holder does not know yet.
            guard var lease = server.lease else { return }
            lease["spec"]?["holderIdentity"] = ""
            server.write(lease)
        default:
            guard var lease = server.lease else { return }
            lease["metadata"]?["labels"] = ["seen": .string(String(random.next()))]
            server.write(lease)
        }
    }
}
