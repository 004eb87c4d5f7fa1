import Synchronization

/// Hosts and clusters with numbered settings, in virtual time: they lose their link, reboot, refuse, lie, are changed by others, and take a change back that was not
/// confirmed. Everything that is written to them by Plumb is kept, for the laws to be held against.
final class SimulatedHosts: Sendable {
    /// The setting that can cut the connection: while it is 0 nobody reaches the host, while it is 3 connections that are open stay and there are
    /// no new ones.
    static let link = "link"

    struct Host: Sendable {
        /// nil: not there.
        var settings: [String: Int] = [:]
        /// What a reboot brings back.
        var atBoot: [String: Int] = [:]
        var machine: String
        var latency = Duration.milliseconds(2)
        var isCut = false
        /// Counts reboots: what was under way is lost with the connection.
        var boots = 0
        var undo: Undo?
        /// Settings whose step ends with a status, for ever or until healed.
        var broken: Set<String> = []
        /// Settings whose step says it went through and changes nothing.
        var lying: Set<String> = []
        /// The probe's section ends with a status.
        var isUnreadable = false
        /// Settings of a cluster that never become ready.
        var unready: Set<String> = []
        /// The run that holds the host's lock.
        var lockedBy: Int?
        /// Who changed it last, so that a plan from before that is noticed.
        var mark = 0

        var isReachable: Bool { !isCut && settings[SimulatedHosts.link] != 0 }
        var takesConnections: Bool { isReachable && settings[SimulatedHosts.link] != 3 }
    }

    struct Undo: Sendable, Hashable {
        var name: Int
        var restore: [String: Int?]
    }

    struct Write: Sendable, Hashable {
        var run: Int
        var host: String
        var setting: String
        var value: Int?
        var time: Duration
        /// Which run held the host's lock then.
        var heldBy: Int?
        /// By the host itself, which took a change back.
        var isUndo = false
    }

    struct State: Sendable {
        var hosts: [String: Host] = [:]
        var writes: [Write] = []
        var undoCount = 0
        /// Undos that were armed and never ended but by their own timer or a confirmation; for the figures.
        var undone = 0
    }

    let simulation: Simulation
    let state: Mutex<State>

    init(_ simulation: Simulation, _ hosts: [String: Host]) {
        self.simulation = simulation
        state = Mutex(State(hosts: hosts))
    }

    func withHost<T: Sendable>(_ name: String, _ body: (inout Host) -> T) -> T {
        state.withLock { state in
            guard var host = state.hosts[name] else { fatalError("no host \(name)") }
            defer { state.hosts[name] = host }
            return body(&host)
        }
    }

    // MARK: What others do

    func schedule(_ fault: Fault) {
        simulation.at(fault.time) { self.strike(fault) }
    }

    private func strike(_ fault: Fault) {
        withHost(fault.host) { host in
            switch fault.what {
            case .cut(let duration):
                host.isCut = true
                simulation.at(simulation.now + duration) { self.withHost(fault.host) { $0.isCut = false } }
            case .slow(let latency): host.latency = latency
            case .reboot:
                host.settings = host.atBoot
                host.undo = nil
                host.boots += 1
                host.lockedBy = nil
                host.mark = 0
            case .breaks(let setting): host.broken.insert(setting)
            case .lies(let setting): host.lying.insert(setting)
            case .neverReady(let setting): host.unready.insert(setting)
            case .unreadable: host.isUnreadable = true
            case .changedByOthers(let setting, let value): host.settings[setting] = value
            case .replaced:
                host.settings = host.atBoot
                host.undo = nil
                host.boots += 1
                host.lockedBy = nil
                host.mark = 0
                host.machine += "'"
            }
        }
    }

    /// Whatever was done to them ends; what was written stays.
    func heal() {
        state.withLock { state in
            for name in state.hosts.keys {
                state.hosts[name]?.isCut = false
                state.hosts[name]?.latency = .milliseconds(2)
                state.hosts[name]?.broken = []
                state.hosts[name]?.lying = []
                state.hosts[name]?.unready = []
                state.hosts[name]?.isUnreadable = false
            }
        }
    }

    /// The connections of a process that is gone, and the locks with them.
    func hangUp(_ run: Int) {
        state.withLock { state in for (name, host) in state.hosts where host.lockedBy == run { state.hosts[name]?.lockedBy = nil } }
    }

    // MARK: What a connection does

    /// A connection: it is gone after a reboot.
    struct Session: Sendable, Hashable {
        var boots: Int
    }

    /// Opens a connection; nil: nobody answers.
    func connect(_ name: String, timeout: Duration = .seconds(10)) async -> Session? {
        let deadline = simulation.now + timeout
        await simulation.sleep(for: withHost(name) { $0.latency } * simulation.random(in: 1...3))
        guard simulation.now < deadline, withHost(name, { $0.takesConnections }) else {
            await simulation.sleep(until: deadline)
            return nil
        }
        return Session(boots: withHost(name) { $0.boots })
    }

    /// One request and its answer. nil: no answer within `timeout`; whether it happened is not known.
    func ask<T: Sendable>(_ name: String, _ session: Session, timeout: Duration = .seconds(10), _ body: (inout Host) -> T) async -> T? {
        let deadline = simulation.now + timeout
        let latency = withHost(name) { $0.latency }
        let boots = session.boots
        await simulation.sleep(for: latency / 2 * simulation.random(in: 1...3))
        guard simulation.now < deadline, withHost(name, { $0.isReachable && $0.boots == boots }) else {
            await simulation.sleep(until: deadline)
            return nil
        }
        let answer = withHost(name, body)
        await simulation.sleep(for: latency / 2 * simulation.random(in: 1...3))
        guard simulation.now < deadline, withHost(name, { $0.isReachable && $0.boots == boots }) else {
            await simulation.sleep(until: deadline)
            return nil
        }
        return answer
    }

    /// A command: 0 or the status it ended with.
    func set(_ setting: String, to value: Int?, on host: inout Host, named name: String, run: Int) -> Int {
        if host.broken.contains(setting) { return 1 }
        if host.lying.contains(setting) { return 0 }
        host.settings[setting] = value
        note(Write(run: run, host: name, setting: setting, value: value, time: simulation.now, heldBy: host.lockedBy))
        return 0
    }

    private let noted = Mutex<[Write]>([])

    private func note(_ write: Write) { noted.withLock { $0.append(write) } }

    var writes: [Write] { noted.withLock { $0 } }

    // MARK: An undo that the host keeps

    func arm(_ undo: Undo, fuse: Duration, on host: inout Host, named name: String, run: Int) -> Bool {
        guard host.undo == nil else { return false }
        host.undo = undo
        simulation.at(simulation.now + fuse) {
            self.withHost(name) { host in
                guard host.undo?.name == undo.name else { return }
                self.takeBack(on: &host, named: name, run: run)
            }
        }
        return true
    }

    func takeBack(on host: inout Host, named name: String, run: Int) {
        guard let undo = host.undo else { return }
        host.undo = nil
        for (setting, value) in undo.restore.sorted(by: { $0.key < $1.key }) {
            host.settings[setting] = value
            note(Write(run: run, host: name, setting: setting, value: value, time: simulation.now, isUndo: true))
        }
    }
}

/// Something that goes wrong at a host at a time.
struct Fault: Sendable, Hashable {
    enum What: Sendable, Hashable {
        case cut(Duration)
        case slow(Duration)
        case reboot
        case breaks(String)
        case lies(String)
        case unreadable
        case neverReady(String)
        case changedByOthers(String, Int?)
        /// Another machine answers under its name.
        case replaced
    }

    var time: Duration
    var host: String
    var what: What
}

extension Fault.What {
    var word: String {
        switch self {
        case .cut: "link cut"
        case .slow: "slow"
        case .reboot: "reboot"
        case .breaks: "step fails"
        case .lies: "step lies"
        case .unreadable: "unreadable"
        case .neverReady: "never ready"
        case .changedByOthers: "changed by others"
        case .replaced: "another machine"
        }
    }
}
