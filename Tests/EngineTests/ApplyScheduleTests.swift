import Applying
import Planning
import ResourceModel
import Testing

/// The laws of the schedule under every budget, over random graphs and failures.
struct ApplyScheduleTests {
    @Test(arguments: 0..<1000)
    func keepsItsBudgetsAndEndsEveryActionOnce(seed: UInt64) {
        var random = Seeded(seed)
        let (actions, hosts) = Self.graph(&random)
        let budget = ApplyBudget(
            maxUnavailable: Bool.random(using: &random) ? Int.random(in: 1...3, using: &random) : nil,
            canary: Bool.random(using: &random) ? Int.random(in: 1...3, using: &random) : nil,
            maxFailures: Bool.random(using: &random) ? Int.random(in: 0...3, using: &random) : nil
        )
        let limit = Int.random(in: 1...6, using: &random)
        let failing = Int.random(in: 0...3, using: &random)
        let first = Set(Set(actions.map(\.address.target)).intersection(hosts).sorted().prefix(budget.canary ?? 0))
        let canaries = Set(actions.filter { first.contains($0.address.target) }.map(\.address))
        let beforeCanaries = Self.closure(of: canaries, actions)

        var schedule = ApplySchedule(actions, limit: limit, budget: budget, hosts: hosts)
        var running: [ApplySchedule.Batch] = []
        var succeeded: Set<ResourceAddress> = []
        var started: Set<ResourceAddress> = []
        var ends: [ResourceAddress: Int] = [:]
        var failures = 0
        var lost = 0
        while true {
            for batch in schedule.start() {
                #expect(!running.contains { $0.target == batch.target })
                if let most = budget.maxFailures { #expect(failures <= most && batch.actions.count == 1) }
                for action in batch.actions {
                    #expect(started.insert(action.address).inserted)
                    #expect(action.dependsOn.allSatisfy(succeeded.contains))
                    #expect(beforeCanaries.contains(action.address) || canaries.isSubset(of: succeeded), "\(action.address) before the canaries")
                }
                running.append(batch)
            }
            #expect(running.count <= limit)
            if let most = budget.maxUnavailable { #expect(running.count { hosts.contains($0.target) } <= most) }
            guard !running.isEmpty else { break }
            let batch = running.remove(at: Int.random(in: running.indices, using: &random))
            let failed = Set(batch.actions.map(\.address).filter { _ in Int.random(in: 0..<10, using: &random) < failing })
            // Not begun, since it could not be written down: no failure, and no success.
            let notRun = Set(batch.actions.map(\.address).filter { _ in Int.random(in: 0..<20, using: &random) < failing }).subtracting(failed)
            failures += failed.count
            lost += failed.count + notRun.count
            for action in batch.actions {
                ends[action.address, default: 0] += 1
                if !failed.contains(action.address), !notRun.contains(action.address) { succeeded.insert(action.address) }
            }
            for (action, reason) in schedule.finish(batch, failed: failed, notRun: notRun) {
                ends[action.address, default: 0] += 1
                #expect(!started.contains(action.address) && !reason.isEmpty)
            }
        }
        #expect(schedule.isFinished)
        #expect(Set(ends.keys) == Set(actions.map(\.address)) && ends.values.allSatisfy { $0 == 1 }, "seed \(seed)")
        // Without failures a budget only delays.
        if lost == 0 { #expect(succeeded.count == actions.count) }
    }

    @Test func aFailedCanaryEndsItForAllOthers() {
        let actions = ["a/S/1", "b/S/1", "c/S/1", "home/S/1"].map { Self.action($0) }
        var schedule = ApplySchedule(actions, limit: 9, budget: ApplyBudget(canary: 1), hosts: ["a", "b", "c"])
        let batches = schedule.start()
        #expect(batches.map(\.target) == ["a"])
        let skipped = schedule.finish(batches[0], failed: [actions[0].address])
        #expect(skipped.map(\.0.address.target) == ["b", "c", "home"])
        #expect(skipped.allSatisfy { $0.1 == "not started, since a/S/1 of a canary did not succeed (--canary)" })
        #expect(schedule.isFinished)
    }

    @Test func aCanaryWhoseDependencyDoesNotGetReadyEndsItForAllOthers() {
        let actions = [Self.action("a/S/1", ["home/S/9"]), Self.action("b/S/1"), Self.action("home/S/1")]
        var schedule = ApplySchedule(actions, limit: 9, budget: ApplyBudget(canary: 1), hosts: ["a", "b"], clusters: ["home"])
        #expect(schedule.start().isEmpty)
        let skipped = schedule.resolve(World.address("home/S/9"), failure: "no pods")
        #expect(skipped.map(\.0.address.description) == ["a/S/1", "b/S/1", "home/S/1"])
        #expect(schedule.isFinished)
    }

    @Test func whatIsNotGoneKeepsWhatGoesAfterIt() {
        let actions = [(101, "object"), (102, "operator"), (103, "definition")].map { phase, name in
            var action = Self.action("home/S/\(name)", phase: phase)
            action.operation = .delete
            action.isUndeclared = true
            return action
        }
        var schedule = ApplySchedule(actions, limit: 9, clusters: ["home"])
        let batch = schedule.start()[0]
        let skipped = schedule.finish(batch, failed: [actions[0].address])
        #expect(skipped.map(\.0.address) == [actions[1].address, actions[2].address])
        #expect(skipped.allSatisfy { $0.1 == "no longer declared, but it stays as long as home/S/object is not gone" })
        #expect(schedule.isFinished)
    }

    @Test func whatACanaryDependsOnComesBeforeIt() {
        let actions = [Self.action("home/S/1"), Self.action("z/S/1", ["home/S/1"]), Self.action("a/S/1", ["z/S/1"]), Self.action("b/S/1")]
        var schedule = ApplySchedule(actions, limit: 9, budget: ApplyBudget(maxUnavailable: 1, canary: 1), hosts: ["a", "b", "z"])
        var order: [String] = []
        while let batch = schedule.start().first {
            order.append(batch.target)
            #expect(schedule.finish(batch, failed: []).isEmpty)
        }
        #expect(order == ["home", "z", "a", "b"])
    }

    @Test func aHostThatWasBegunIsFinishedBeforeTheNext() {
        let actions = [
            Self.action("a/S/1", phase: 1), Self.action("b/S/1", phase: 1), Self.action("b/S/2", phase: 2), Self.action("a/S/2", phase: 2),
        ]
        var schedule = ApplySchedule(actions, limit: 9, budget: ApplyBudget(maxUnavailable: 1), hosts: ["a", "b"])
        var order: [String] = []
        while let batch = schedule.start().first {
            order.append(batch.target)
            _ = schedule.finish(batch, failed: [])
        }
        #expect(order == ["a", "a", "b", "b"])
    }

    @Test func failuresUpToTheLimitStopNothing() {
        let actions = (1...4).map { Self.action("a/S/\($0)") }
        var schedule = ApplySchedule(actions, limit: 9, budget: ApplyBudget(maxFailures: 1), hosts: ["a"])
        let first = schedule.start()[0]
        #expect(schedule.finish(first, failed: [first.actions[0].address]).isEmpty)
        let second = schedule.start()[0]
        let skipped = schedule.finish(second, failed: [second.actions[0].address])
        #expect(skipped.map(\.0.address.resource) == ["S/3", "S/4"])
        #expect(skipped.allSatisfy { $0.1 == "not started, since 2 actions failed (--max-failures 1)" })
    }

    private static func graph(_ random: inout Seeded) -> ([Action], Set<String>) {
        let hosts = (0..<Int.random(in: 0...6, using: &random)).map { "host-\($0)" }
        let targets = hosts + (0..<Int.random(in: hosts.isEmpty ? 1...2 : 0...2, using: &random)).map { "cluster-\($0)" }
        var actions: [Action] = []
        for index in 0..<Int.random(in: 0...20, using: &random) {
            let earlier = actions.map(\.address.description).shuffled(using: &random)
            let dependencies = Array(earlier.prefix(max(0, Int.random(in: -3...2, using: &random))))
            let target = targets[Int.random(in: targets.indices, using: &random)]
            actions.append(action("\(target)/S/\(index)", dependencies, phase: Int.random(in: 0...2, using: &random)))
        }
        return (actions, Set(hosts))
    }

    private static func closure(of addresses: Set<ResourceAddress>, _ actions: [Action]) -> Set<ResourceAddress> {
        var result = addresses
        for action in actions.reversed() where result.contains(action.address) { result.formUnion(action.dependsOn) }
        return result
    }

    static func action(_ address: String, _ dependencies: [String] = [], phase: Int = 0) -> Action {
        Action(
            address: World.address(address),
            kind: "S",
            handler: "S",
            operation: .update,
            fields: [],
            steps: [Step(.run(arguments: ["true"]), summary: "true")],
            fingerprint: "f",
            dependsOn: dependencies.map(World.address),
            phase: phase
        )
    }
}
