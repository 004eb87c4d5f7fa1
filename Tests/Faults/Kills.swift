import Foundation
import Values

/// `kill -9` of an apply at moments spread over its whole life, on hosts and a cluster that differ from the specs in every respect.
struct Kills: Sendable {
    let tally: Tally
    let trials: Int
    let seed: UInt64
    /// Each with hosts of its own; the first with the cluster, which allows only one apply at a time.
    static let lanes = 2

    private static let quick = ["--confirm-timeout", "2s", "--timeout", "10s"]

    func run(lane: Int) throws {
        let hosts = lane == 0 ? ["pi-1", "pi-2", "pi-3"] : ["kill-\(lane)-1", "kill-\(lane)-2", "kill-\(lane)-3"]
        let world = try World("kill-\(lane)", hosts: hosts)
        defer { world.remove() }
        if lane > 0 { for host in hosts { try world.lab("add", host) } }
        // Undisturbed, to know how long it lives and what has to come of it.
        try prepare(world, round: -1, withCluster: lane == 0)
        let whole = try world.plumb(world.apply("--confirm-timeout", "20s"))
        guard whole.status == 0 else { throw LabFailure(description: "an undisturbed apply fails: \(whole.said)") }
        var expected: [String: String] = [:]
        for host in world.hosts { expected[host] = try world.state(of: host) }
        var life = whole.seconds
        for number in stride(from: lane, to: trials, by: Self.lanes) {
            // One in each part of its life, anywhere in that part; every other one counted from the plan, since it is the actions that can be hurt.
            var random = SeededGenerator(seed: seed &+ UInt64(number))
            let isAfterPlan = number / Self.lanes % 2 == 1
            let moment = (Double(number) + Double.random(in: 0..<1, using: &random)) / Double(trials) * life * (isAfterPlan ? 0.7 : 1.05)
            try prepare(world, round: number, withCluster: lane == 0)
            let (fault, trial, lived) = try kill(world, at: moment, afterPlan: isAfterPlan, expected: expected)
            tally.add("kill", fault, trial, reproduce: "--trials \(trials)")
            // Other work on this machine makes it slower and faster.
            if let lived { life = (life + lived) / 2 }
            if number % 20 == 0, number > 0 { say("kill: \(number) of \(trials)") }
        }
        if lane > 0 { for host in hosts { try world.lab("remove", host) } }
    }

    private func prepare(_ world: World, round: Int, withCluster: Bool) throws {
        try world.onAll(["reset", "drift"])
        var text = Specs.hosts(world.hosts) + Specs.promiscuous + Specs.leftovers + Specs.mtu(world.hosts[0])
        guard withCluster else { return try world.write(text) }
        text += Specs.cluster + Specs.object("Namespace", "faults", namespace: nil, "")
        for name in ["one", "two", "three"] { text += Specs.object("ConfigMap", name, namespace: "faults", "data: {round: \"\(round)\"}\n") }
        text += Specs.object("Secret", "secret", namespace: "faults", "stringData: {round: \"\(round)\"}\n")
        try world.write(text)
    }

    private func kill(
        _ world: World,
        at moment: Double,
        afterPlan isAfterPlan: Bool,
        expected: [String: String]
    ) throws -> (fault: String, Trial, lived: Double?) {
        var trial = Trial()
        let child = try world.start(world.apply() + Self.quick)
        if isAfterPlan { _ = child.waits { child.output.contains("planned") } }
        Thread.sleep(forTimeInterval: moment)
        child.signal(SIGKILL)
        let killed = child.end()
        let isArmed = try !world.on(world.hosts[0], "ls /run/plumb/undo 2>/dev/null").isEmpty
        let events = killed.events
        let fault = phase(killed, isArmed: isArmed)
        // Journal first: planning is slow enough for an undo to have run meanwhile.
        try world.checkJournal(&trial, pid: child.pid, events: events, isOver: false)
        try world.checkPlan(&trial)
        let next = try world.checkConverges(&trial)
        try world.checkJournal(&trial, pid: child.pid, events: events, isOver: true)
        for host in world.hosts {
            try world.checkNothingLeft(&trial, on: host)
            let state = try world.state(of: host)
            trial.check(state == expected[host], "\(host) is not as an undisturbed apply leaves it: \(state)")
        }
        trial.outcomes.append(next.events.contains { $0.type == "succeeded" } ? "converged by the next apply" : "was as declared already")
        if next.errors.contains("ended without a word") { trial.outcomes.append("found interrupted") }
        if next.errors.contains("is armed; waiting") { trial.outcomes.append("waited for the undo") }
        return (fault, trial, killed.status == 128 + SIGKILL ? nil : killed.seconds)
    }

    /// Where it was in its life.
    private func phase(_ killed: Outcome, isArmed: Bool) -> String {
        let events = killed.events
        let ended = Set(events.filter { ["succeeded", "failed", "skipped", "rolledBack"].contains($0.type) }.map(\.address))
        let underWay = events.contains { $0.type == "started" && !ended.contains($0.address) }
        if events.contains(where: { $0.type == "summary" }) { return "after its last word" }
        if isArmed { return "while an undo was armed" }
        if underWay { return "in an action" }
        if events.isEmpty { return "before its plan" }
        return ended.isEmpty ? "before its first action" : "between actions"
    }
}
