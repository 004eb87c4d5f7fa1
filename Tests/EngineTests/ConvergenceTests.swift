import Applying
import Planning
import Reconciling
import ResourceModel
import Synchronization
import Testing

/// The laws of the engine, over random specs, states and faults.
struct ConvergenceTests {
    @Test(arguments: 0..<300)
    func applyingTwiceDoesNothingTheSecondTime(seed: UInt64) async {
        var random = Seeded(seed)
        let (world, pass) = Self.scenario(&random, faults: false)
        let first = await pass.plan(observer: world.observer)
        let summary = await apply(first, pass, world)
        #expect(summary.isComplete)
        #expect(summary.succeeded == first.actions.count)

        let second = await pass.plan(observer: world.observer)
        #expect(second.actions.isEmpty)
        #expect(second.problems.isEmpty)
        #expect(second.unchanged.count == pass.desired.resources.count)
        world.state.withLock { $0.log = [] }
        let again = await apply(second, pass, world)
        #expect(again.isComplete)
        #expect(world.state.withLock { $0.log }.isEmpty)
    }

    @Test(arguments: 0..<300)
    func faultsStopWhatDependsOnThemAndNothingElse(seed: UInt64) async {
        var random = Seeded(seed)
        let (world, pass) = Self.scenario(&random, faults: true)
        let plan = await pass.plan(observer: world.observer)
        let dead = world.state.withLock { $0.dead }

        // Every resource of a living target is in exactly one list.
        let planned = Set(plan.actions.map(\.address))
        let problems = Set(plan.problems.compactMap(\.address))
        let unchanged = Set(plan.unchanged)
        for resource in pass.desired.resources where !dead.contains(resource.address.target) {
            let lists = [planned, problems, unchanged].count { $0.contains(resource.address) }
            #expect(lists == 1, "\(resource.address)")
        }
        #expect(Set(plan.problems.filter { $0.address == nil }.map(\.target)) == dead.intersection(pass.desired.resources.map(\.address.target)))

        let events = Mutex<[ApplyEvent]>([])
        let summary = await apply(plan, pass, world) { event in events.withLock { $0.append(event) } }
        let outcomes = events.withLock { $0 }.compactMap { event -> (ResourceAddress, Bool)? in
            switch event {
            case .succeeded(let address, _): (address, true)
            case .failed(let address, _), .skipped(let address, _), .rolledBack(let address, _): (address, false)
            case .drifted, .planned, .started, .stale, .unneeded, .unplanned, .summary: nil
            }
        }
        #expect(Set(outcomes.map(\.0)) == planned)
        #expect(outcomes.count == planned.count)
        #expect(summary.succeeded + summary.failed + summary.skipped == planned.count)

        let faulty = world.state.withLock { $0.liars.union($0.broken) }
        let succeeded = Dictionary(outcomes) { first, _ in first }
        for action in plan.actions {
            let lost = faulty.contains(action.address.description) || action.dependsOn.contains { succeeded[$0] == false }
            #expect(succeeded[action.address] == !lost, "\(action.address)")
        }
        // What ran, ran after everything it depends on.
        let log = world.state.withLock { $0.log }
        let position = Dictionary(log.enumerated().map { ($1, $0) }) { first, _ in first }
        for action in plan.actions {
            guard let own = position[action.address.description] else { continue }
            for dependency in action.dependsOn {
                guard let before = position[dependency.description] else { continue }
                #expect(before < own)
            }
        }
        #expect(log.count == Set(log).count)
    }

    @Test(arguments: 0..<50)
    func theSameInputGivesTheSamePlan(seed: UInt64) async {
        var random = Seeded(seed)
        let (world, pass) = Self.scenario(&random, faults: true)
        let first = await pass.plan(observer: world.observer)
        var shuffled = pass
        shuffled.desired.resources.shuffle(using: &random)
        let second = await shuffled.plan(observer: world.observer)
        #expect(first.planID == second.planID)
        #expect(first.actions == second.actions)
        #expect(first.problems == second.problems)
    }

    /// Whatever else is in the same batch.
    @Test(arguments: [true, false])
    func anInterruptStartsNothingNew(chained: Bool) async {
        let world = World(World.State(settings: ["a": [:]]))
        let resources = (0..<5).map { index in
            World.setting("a/Setting/s\(index)", 1, dependsOn: index == 0 || !chained ? [] : ["a/Setting/s\(index - 1)"], line: index + 1)
        }
        let desired = DesiredState(targets: [World.host("a")], resources: resources, contentHash: "x")
        let pass = Pass(desired: desired, kinds: [World.kind], source: "state", concurrency: 4)
        let plan = await pass.plan(observer: world.observer)
        let options = ApplyOptions(isInterrupted: { world.state.withLock { $0.log.count >= 2 } })
        let summary = await Applying.apply(
            plan,
            desired: desired,
            kinds: [World.kind],
            collaborators: world.collaborators,
            options: options,
            report: { _ in }
        )
        #expect(summary.succeeded == 2)
        #expect(summary.skipped == 3)
        #expect(world.state.withLock { $0.settings["a"] } == ["s0": 1, "s1": 1])
    }

    private func apply(
        _ plan: Plan,
        _ pass: Pass,
        _ world: World,
        report: @escaping @Sendable (ApplyEvent) -> Void = { _ in }
    ) async -> ApplySummary {
        await Applying.apply(
            plan,
            desired: pass.desired,
            kinds: pass.kinds,
            collaborators: world.collaborators,
            options: ApplyOptions(concurrency: 3),
            report: report
        )
    }

    static func scenario(_ random: inout Seeded, faults: Bool) -> (World, Pass) {
        let hosts = (0..<Int.random(in: 1...6, using: &random)).map { "host-\($0)" }
        var state = World.State()
        var resources: [DesiredResource] = []
        for host in hosts {
            state.settings[host] = [:]
            if faults, Int.random(in: 0..<6, using: &random) == 0 { state.dead.insert(host) }
            for index in 0..<Int.random(in: 0...8, using: &random) {
                let name = "s\(index)"
                let address = "\(host)/Setting/\(name)"
                if Bool.random(using: &random) { state.settings[host]?[name] = Int.random(in: 0...2, using: &random) }
                let value = Int.random(in: 0..<4, using: &random)
                // Depends only on what was declared before it: no cycle.
                let earlier = resources.map(\.address.description).shuffled(using: &random)
                let dependencies = Array(earlier.prefix(max(0, Int.random(in: -3...2, using: &random))))
                resources.append(World.setting(address, value == 3 ? nil : value, dependsOn: dependencies, line: resources.count + 1))
                guard faults else { continue }
                switch Int.random(in: 0..<10, using: &random) {
                case 0: state.liars.insert(address)
                case 1: state.broken.insert(address)
                default: break
                }
            }
        }
        resources.sort { $0.address < $1.address }
        let desired = DesiredState(targets: hosts.map { World.host($0) }, resources: resources, contentHash: "content")
        return (World(state), Pass(desired: desired, kinds: [World.kind], source: "state", concurrency: 3))
    }
}

/// SplitMix64: the same numbers for the same seed on every machine.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
