import Applying
import Planning
import Reconciling
import ResourceModel
import Synchronization
import Values

/// A random world with what happens to it: some runs of Plumb under faults, alone, two at once, or killed; then everything is healed, and it has
/// to converge.
struct Scenario {
    let seed: UInt64

    func play(_ figures: inout Figures) -> [String] {
        var random = Seeded(seed)
        let pass = pass(&random)
        let simulation = Simulation(Seeded(random.next()))
        let names = pass.desired.targets.map(\.name)
        let hosts = SimulatedHosts(simulation, Dictionary(uniqueKeysWithValues: names.map { ($0, host($0, &random)) }))
        var runs: [SimulatedPlumb] = []
        var violations: [String] = []

        for fault in faults(names, &random) {
            hosts.schedule(fault)
            figures.count("faults: \(fault.what.word)")
        }
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            let atOnce = random.chance(1, in: 4) ? 2 : 1
            let started = (0..<atOnce).map { index in
                SimulatedPlumb(
                    runs.count + index + 1,
                    hosts,
                    pass,
                    diskFullAt: random.chance(1, in: 12) ? simulation.now + .milliseconds(Int.random(in: 0...200, using: &random)) : nil,
                    interruptedAt: random.chance(1, in: 8) ? simulation.now + .milliseconds(Int.random(in: 0...200, using: &random)) : nil
                )
            }
            runs += started
            let life = random.chance(1, in: 3) ? Duration.milliseconds(Int.random(in: 0...random.pick([50, 500, 40_000]), using: &random)) : nil
            let ending = simulation.run(for: life ?? .seconds(7200)) {
                await withTaskGroup(of: Void.self) { group in
                    for run in started { group.addTask { await run.run() } }
                }
            }
            switch ending {
            case .finished: figures.count("runs that ended")
            case .timeIsUp where life != nil:
                figures.count("runs killed")
                simulation.kill()
                for run in started { hosts.hangUp(run.number) }
            case .timeIsUp: return violations + ["a run does not end"]
            case .stuck: return violations + ["a run waits for ever"]
            }
            for run in started { run.checkAll(wasKilled: ending != .finished) }
            if started.count > 1 { figures.count("runs at once") }
            simulation.pass(.milliseconds(Int.random(in: 0...2000, using: &random)))
        }

        // Whatever was armed has run by now.
        simulation.pass(.seconds(3600))
        hosts.heal()
        hosts.state.withLock { state in
            for (name, host) in state.hosts {
                if host.undo != nil { violations.append("\(name) has an undo armed an hour later") }
                if host.lockedBy != nil { violations.append("\(name) is locked by run \(host.lockedBy ?? 0), which is gone") }
                if [0, 3].contains(host.settings[SimulatedHosts.link]) { violations.append("\(name) was cut off by its own change") }
            }
        }
        let last = SimulatedPlumb(runs.count + 1, hosts, pass)
        guard simulation.run(for: .seconds(7200), { await last.run() }) == .finished else { return violations + ["the last run does not end"] }
        last.checkAll(wasKilled: false)
        runs.append(last)
        violations += converged(last)
        for run in runs {
            let record = run.record.withLock { $0 }
            violations += record.violations
            for outcome in record.ended.values { figures.count(outcome.word) }
            if let drifted = record.summary?.drifted, drifted > 0 { figures.count("drifted", drifted) }
        }
        figures.count("actions done", hosts.writes.count { !$0.isUndo })
        figures.count("undone by a host", hosts.writes.count { $0.isUndo })
        figures.virtualTime += simulation.now
        return violations
    }

    /// After a run without faults everything is as declared, but what would cut the host off for ever, and what waits for that.
    private func converged(_ last: SimulatedPlumb) -> [String] {
        let ended = last.record.withLock { $0.ended }
        let problems = Set(last.record.withLock { $0.plan?.problems.compactMap(\.address) ?? [] })
        return last.pass.desired.resources.compactMap { resource in
            let name = Setting.name(of: resource.address)
            let desired = resource.fields["value"]?.intValue.map { Int($0) }
            let live = last.hosts.withHost(resource.address.target) { $0.settings[name] }
            if live == desired { return nil }
            if name == SimulatedHosts.link, desired == 0 || desired == 3, case .rolledBack? = ended[resource.address] { return nil }
            if case .skipped? = ended[resource.address], dependsOnCut(resource, last.pass) { return nil }
            if problems.contains(resource.address), dependsOnCut(resource, last.pass) { return nil }
            return
                "\(resource.address) is \(live.map(String.init) ?? "absent") after a run without faults; that run said \(ended[resource.address].map { "\($0)" } ?? "nothing")"
        }
    }

    private func dependsOnCut(_ resource: DesiredResource, _ pass: Pass) -> Bool {
        var open = resource.dependsOn
        var seen: Set<ResourceAddress> = []
        while let address = open.popLast() {
            guard seen.insert(address).inserted, let next = pass.desired.resources.first(where: { $0.address == address }) else { continue }
            if Setting.name(of: address) == SimulatedHosts.link, [0, 3].contains(next.fields["value"]) { return true }
            open += next.dependsOn
        }
        return false
    }

    // MARK: Random worlds

    private func pass(_ random: inout Seeded) -> Pass {
        var names = (0..<Int.random(in: 1...5, using: &random)).map { "host-\($0)" }
        if random.chance(1, in: 2) { names.insert("cluster", at: 0) }
        var resources: [DesiredResource] = []
        for name in names {
            var settings = (0..<Int.random(in: 0...5, using: &random)).map { "s\($0)" }
            if name != "cluster", random.chance(1, in: 2) { settings.append(SimulatedHosts.link) }
            for setting in settings.shuffled(using: &random) {
                let value = setting == SimulatedHosts.link ? random.pick([0, 1, 2, 2, 3]) : Int.random(in: 0...3, using: &random)
                let earlier = resources.map(\.address).shuffled(using: &random).prefix(max(0, Int.random(in: -3...2, using: &random)))
                let desired = setting != SimulatedHosts.link && value == 3 ? nil : value
                resources.append(Setting.declared(name, setting, desired, dependsOn: Array(earlier), line: resources.count + 1))
            }
        }
        resources.sort { $0.address < $1.address }
        let desired = DesiredState(
            targets: names.map { $0 == "cluster" ? Setting.cluster($0) : Setting.host($0) },
            resources: resources,
            contentHash: "content"
        )
        return Pass(desired: desired, kinds: [Setting.kind], source: "state", concurrency: Int.random(in: 1...4, using: &random))
    }

    private func host(_ name: String, _ random: inout Seeded) -> SimulatedHosts.Host {
        var host = SimulatedHosts.Host(machine: "machine of \(name)")
        for index in 0..<6 where random.chance(1, in: 2) { host.settings["s\(index)"] = Int.random(in: 0...2, using: &random) }
        if name != "cluster", random.chance(2, in: 3) { host.settings[SimulatedHosts.link] = Int.random(in: 1...2, using: &random) }
        host.settings["other"] = 7
        host.atBoot = host.settings
        host.latency = .milliseconds(Int.random(in: 1...20, using: &random))
        return host
    }

    private func faults(_ names: [String], _ random: inout Seeded) -> [Fault] {
        (0..<max(0, Int.random(in: -1...5, using: &random))).map { _ in
            let setting = "s\(Int.random(in: 0...5, using: &random))"
            let host = random.pick(names)
            let link = host == "cluster" ? setting : SimulatedHosts.link
            let what: Fault.What =
                switch Int.random(in: 0...7, using: &random) {
                case 0, 1: .cut(.milliseconds(Int.random(in: 1...random.pick([100, 20_000, 120_000]), using: &random)))
                case 2: .slow(.milliseconds(random.pick([500, 2000, 9000, 30_000])))
                case 3: .reboot
                case 4: .breaks(random.chance(1, in: 4) ? link : setting)
                case 5: .lies(random.chance(1, in: 4) ? link : setting)
                case 6: random.pick([.unreadable, .replaced, .neverReady(setting)])
                default: .changedByOthers(setting, random.chance(1, in: 4) ? nil : Int.random(in: 0...2, using: &random))
                }
            return Fault(
                time: .milliseconds(Int.random(in: 0...random.pick([60, 400, 40_000]), using: &random)),
                host: host,
                what: what
            )
        }
    }
}

extension Seeded {
    mutating func pick<T>(_ values: [T]) -> T { values[Int.random(in: values.indices, using: &self)] }
}
