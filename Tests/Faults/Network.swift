import Foundation

/// Faults of the network between us and a host, each beside a host that has none.
struct Network: Sendable {
    let tally: Tally
    let isFull: Bool
    let only: String?

    private static let some = [
        "host vanishes in a step", "host vanishes before the confirmation", "connection reset in the probe", "sshd is killed in a step",
        "a host that accepts and is silent", "the change itself cuts the link",
    ]

    var jobs: [@Sendable () throws -> Void] {
        NetworkFault.all.enumerated().filter { _, fault in
            only.map(fault.name.contains) ?? (isFull || Self.some.contains(fault.name))
        }
        .map { number, fault in
            {
                let trial = try tryOut(fault, number: number)
                tally.add("network", fault.name, trial, reproduce: "--full --fault '\(fault.name)'")
            }
        }
    }

    private func tryOut(_ fault: NetworkFault, number: Int) throws -> Trial {
        // In this order they are changed, where it is one at a time.
        let good = "a-\(number)"
        let victim = "v-\(number)"
        let world = try World("network-\(number)", hosts: [good, victim])
        defer { world.remove() }
        try world.lab("add", good, "--drift")
        if let variant = fault.variant { try world.lab("add", victim, "--like", variant) } else { try world.lab("add", victim, "--drift") }
        var trial = Trial()
        do {
            try strike(with: fault, in: world, good: good, victim: victim, trial: &trial)
        } catch {
            for host in world.hosts { try world.lab("remove", host) }
            throw LabFailure(description: "\(fault.name): \(error)")
        }
        for host in world.hosts { try world.lab("remove", host) }
        return trial
    }

    private func strike(with fault: NetworkFault, in world: World, good: String, victim: String, trial: inout Trial) throws {
        let entry = try fault.entry?(world, victim) ?? "\(victim): {}"
        let specs = { (entry: String) in
            Specs.hosts([good]) + "    \(entry)\n" + (fault.spec?(victim) ?? Specs.promiscuous)
                + Specs.spec("NetworkInterface", "good", "hosts: {names: [\(good)]}, interfaces: [wlan0], flags: {promiscuous: true}")
        }
        try world.write(specs(entry))
        let held = fault.holdsOther ? good : victim
        try world.setGate(fault.stage, on: held)
        if fault.stage == .start { try fault.strike(world, victim) }
        let options = fault.options.contains("--timeout") ? fault.options : fault.options + ["--timeout", "4s"]
        let child = try world.start(world.apply("--confirm-timeout", "3s") + options)
        if fault.stage != .start {
            let isReached = child.waits(limit: 60) { world.isReached(held) }
            trial.check(isReached, "never came to the stage '\(fault.stage.rawValue)': \(child.output) \(child.errors)")
            try fault.strike(world, victim)
            try world.openGate(held)
        }
        try fault.meanwhile(world, victim)
        let apply = child.end(limit: fault.limit)
        trial.check(apply.status != nil, "not over after \(fault.limit) s")
        try judge(apply, fault, world: world, good: good, victim: victim, trial: &trial)
        try world.checkJournal(&trial, pid: child.pid, events: apply.events, isOver: false)

        try fault.heal(world, victim)
        if fault.stage != .start { try world.removeGate(held) }
        if fault.variant == nil { try world.awaitConnection(to: victim) }
        if fault.entry != nil || fault.spec != nil || fault.variant != nil {
            // What can't converge is given up: the victim as it should be, or not at all.
            let isThere = fault.variant == nil
            let text = isThere ? specs("\(victim): {}").replacingOccurrences(of: "flags: {up: false}", with: "mtu: 1450") : Specs.hosts([good])
            try world.write(isThere ? text : text + Specs.promiscuous)
        }
        try world.checkConverges(&trial)
        try world.checkNothingLeft(&trial, on: good)
        if fault.variant == nil { try world.checkNothingLeft(&trial, on: victim, wasCutOff: true) }
    }

    /// The outcome has the right name, it is true, and the other host does not notice.
    private func judge(_ apply: Outcome, _ fault: NetworkFault, world: World, good: String, victim: String, trial: inout Trial) throws {
        func ends(of host: String) -> [Event] {
            apply.events.filter { $0.address.hasPrefix("\(host)/") && !["planned", "started"].contains($0.type) }
        }
        let problem = ["unreachable", "denied", "unknown"].first { apply.errors.contains("\(victim): \($0)") }
        let name = problem ?? ends(of: victim).map(\.type).first ?? "nothing"
        trial.outcomes.append(name)
        trial.check(fault.expected.contains(name), "ended as '\(name)': \(apply.said)")
        trial.check((apply.status == 0) == (name == "succeeded"), "status and outcome '\(name)' do not agree: \(apply.said)")
        for event in ends(of: victim) where event.type != "succeeded" {
            trial.check(event.message.count > 15, "\(event.address) \(event.type) without a reason")
        }
        let isThere = try world.on(victim, "ip -o link show wlan0 | grep -c PROMISC") == "1\n"
        if name == "succeeded", fault.spec == nil { trial.check(isThere, "reported as succeeded, and is not so") }
        trial.check(ends(of: good).map(\.type) == ["succeeded"], "the other host: \(ends(of: good)) \(apply.errors)")
        trial.check(try world.on(good, "ip -o link show wlan0 | grep -c PROMISC") == "1\n", "the other host is not as declared")
    }
}

extension World {
    /// A link that is up again carries nothing for a moment.
    func awaitConnection(to host: String) throws {
        let command = ["timeout", "2", "bash", "-c", "exec 3<>\"/dev/tcp/$1/22\"", "bash", try address(host)]
        guard waitUntil(limit: 20, every: 0.1, { (try? Child(command).end().status) == 0 }) else {
            throw LabFailure(description: "\(host) can't be reached although its fault is over")
        }
    }

    /// An entry for a host that is reached over a bad wire, which lasts as long as the lab.
    func wire(to host: String, delay: Double, chunk: Int) throws -> String {
        let program = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("wire").path
        // Its parent goes first: the lab ends it.
        let script = "\"$@\" </dev/null >/dev/null 2>&1 &"
        let place = "\(folder)/wire"
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        _ = try Child(["sh", "-c", script, "sh", program, place, try address(host), "22", "\(delay)", "\(chunk)"]).end()
        guard waitUntil(limit: 20, { FileManager.default.fileExists(atPath: "\(place)/port") }) else {
            throw LabFailure(description: "the wire is not there")
        }
        let port = try String(contentsOfFile: "\(place)/port", encoding: .utf8)
        let keys = try String(contentsOfFile: "\(lab)/hosts/\(host)/known_hosts", encoding: .utf8).split(separator: "\n")
            .map { "\"\($0.split(separator: " ").dropFirst().prefix(2).joined(separator: " "))\"" }
        return "\(host): {address: 127.0.0.1, port: \(port), hostKeys: [\(keys.joined(separator: ", "))]}"
    }
}
