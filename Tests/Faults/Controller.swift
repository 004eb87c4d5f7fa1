import Foundation

/// The controller, while it is killed, and while everything that it needs goes and comes back. It gets no help: no poll and no audit would come by before the end.
struct ControllerFaults: Sendable {
    let tally: Tally
    let isFull: Bool
    let seed: UInt64
    let only: String?
    /// Kills; nil: 100, or 5 of a short run.
    var trials: Int?

    private static let group = "controller"
    /// What a controller may grow by, in MB, over all that happens to it.
    private static let growth = 48

    func run() throws {
        let place = try ControllerWorld("controller", hosts: ["held-1", "held-2", "held-3"], seed: seed)
        defer { place.remove() }
        var start = Trial()
        try place.checkSettles(&start, "start")
        tally.add(Self.group, "start", start)
        if wants("killed at random") { try killed(place) }
        let before = place.memory()
        for (name, short, full, strike) in faults where wants(name) {
            for number in 0..<(isFull ? full : short) {
                var trial = Trial()
                try place.disturb()
                try strike(place)
                try place.checkSettles(&trial, name)
                if trial.violations.isEmpty { trial.outcomes.append("converged") }
                tally.add(Self.group, name, trial, reproduce: "--fault '\(name)'")
                if number % 5 == 4 { say("controller: \(name): \(number + 1) of \(full)") }
            }
        }
        var end = Trial()
        let after = place.memory()
        end.outcomes.append("\(before / 1024) MB, then \(after / 1024) MB")
        end.check(after - before < Self.growth << 10, "it has grown from \(before) kB to \(after) kB")
        try place.checkEnd(&end)
        tally.add(Self.group, "what is left in the end", end)
    }

    private func wants(_ name: String) -> Bool { only.map(name.contains) ?? true }

    private func killed(_ place: ControllerWorld) throws {
        let count = trials ?? (isFull ? 100 : 5)
        for number in 0..<count {
            var trial = Trial()
            for _ in 0...(number % 3) { try place.disturb() }
            place.pause(upTo: 2)
            trial.outcomes.append(try place.killAndStartAnew())
            if number % 10 == 9 || number == count - 1 { try place.checkSettles(&trial, "killed \(number + 1) times") }
            tally.add(Self.group, "killed at random", trial, reproduce: "--fault killed --trials \(count)")
        }
    }

    private typealias Fault = (name: String, short: Int, full: Int, strike: @Sendable (ControllerWorld) throws -> Void)

    private var faults: [Fault] {
        [
            (
                "API server restarted", 2, 20,
                { place in
                    try place.world.lab("api-server", "restart")
                    try place.disturb()
                }
            ),
            (
                "API server gone and back", 0, 3,
                { place in
                    try place.world.lab("api-server", "stop")
                    for _ in 0..<3 { try place.disturb(place.world.hosts) }
                    try place.push()
                    place.pause(upTo: 5)
                    try place.world.lab("api-server", "start")
                    try place.disturb()
                }
            ),
            (
                "connections to the API server cut", 2, 20,
                { place in
                    for _ in 0..<3 {
                        place.resetConnections()
                        try place.disturb()
                    }
                }
            ),
            (
                "the API server silent", 1, 3,
                { place in
                    place.toggleSilence()
                    for _ in 0..<3 { try place.disturb() }
                    place.pause(upTo: 8)
                    place.toggleSilence()
                }
            ),
            (
                "every sshd restarted", 1, 5,
                { place in
                    try place.world.onAll(["stop"])
                    for _ in 0..<3 { try place.disturb() }
                    try place.world.onAll(["start"])
                }
            ),
            (
                "cable pulled", 1, 6,
                { place in
                    let host = place.randomHost()
                    place.cutOff.insert(host)
                    try place.world.lab("cut", host)
                    for _ in 0..<3 { try place.disturb() }
                    place.pause(upTo: 8)
                    try place.world.lab("plug", host)
                }
            ),
            (
                "remote gone and back", 1, 5,
                { place in
                    try place.push()
                    try place.withoutRemote {
                        for _ in 0..<3 { try place.disturb(place.world.hosts) }
                        place.pause(upTo: 5)
                    }
                }
            ),
            (
                "killed while the remote is gone", 1, 3,
                { place in
                    try place.push()
                    try place.withoutRemote {
                        _ = try place.killAndStartAnew(hosts: place.world.hosts)
                        place.pause(upTo: 5)
                    }
                }
            ),
        ]
    }
}
