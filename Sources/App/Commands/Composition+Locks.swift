import Applying
import Foundation
import HostKinds
import Hosts
import Kubernetes
import KubernetesAPI
import Planning
import ResourceModel
import Stores
import Synchronization

/// What one apply holds at its targets: a `flock` at hosts, a Lease at clusters.
final class TargetLocks: Sendable {
    let caller: Caller
    /// The command line, in short.
    let command: String
    /// `--lock-timeout`: how long somebody else who is alive is waited for.
    let patience: Duration
    private let marks = Mutex<[String: HostMark]>([:])
    private let leases = Mutex<[String: ClusterLease]>([:])
    private let givesUp = Mutex<@Sendable () -> Bool>({ false })

    init(
        command: String = "plumb",
        patience: Duration = .zero,
        caller: Caller = .current(environment: ProcessInfo.processInfo.environment)
    ) {
        self.command = command
        self.patience = patience
        self.caller = caller
    }

    /// Whether nobody is waited for any more: the apply was interrupted.
    var isGivenUp: Bool { givesUp.withLock { $0 }() }

    func giveUp(when isInterrupted: @escaping @Sendable () -> Bool) { givesUp.withLock { $0 = isInterrupted } }

    /// As others are told.
    var who: String { "\(caller.description) with '\(command)'" }

    /// In the form that a host's mark has it.
    var process: String { caller.process.mark }

    /// Whether the process that changes a host has ended here, and only its last step still runs there.
    func isOfDeadProcess(_ mark: HostMark) -> Bool { ProcessIdentity(mark: mark.process)?.liveness == .dead }

    /// Takes note of what a host said when it was observed. Once it is locked, that is our own doing.
    func saw(_ mark: HostMark, of host: String) { marks.withLock { $0[host] = mark } }

    func mark(of host: String) -> HostMark { marks.withLock { $0[host] ?? HostMark() } }

    func keep(_ lease: ClusterLease, of cluster: String) { leases.withLock { $0[cluster] = lease } }

    func lease(of cluster: String) -> ClusterLease? { leases.withLock { $0[cluster] } }

    func forgetLease(of cluster: String) -> ClusterLease? { leases.withLock { $0.removeValue(forKey: cluster) } }
}

extension Composition {
    /// Keeps others from changing a target while we do.
    ///
    /// - Returns: Why it is not ours; then nothing is started there.
    func lock(_ target: Target) async -> Problem? {
        switch target {
        case .host(let host): await lock(host)
        case .cluster(let cluster): await lock(cluster)
        }
    }

    func unlock(_ target: Target, _ outcomes: [(Action, ActionOutcome)]) async {
        switch target {
        case .host(let host): await hosts.release(HostLogin(host), changed: outcomes.contains { $0.1.wasStarted })
        case .cluster(let cluster): await locks.forgetLease(of: cluster.name)?.release()
        }
    }

    /// Why an action must not start although its target was locked: the lock is not ours any more. At hosts the connection itself sees to that.
    func lockObjection(to action: Action) async -> Problem? {
        guard let lease = locks.lease(of: action.address.target), let objection = await lease.objection else { return nil }
        return Problem(
            target: action.address.target,
            address: action.address,
            status: .blocked,
            message: "the lock of the cluster, \(Self.leaseName), was lost: \(objection). Apply again"
        )
    }

    // MARK: Hosts

    private func lock(_ host: ResourceModel.Host) async -> Problem? {
        func blocked(_ message: String, _ status: ProblemStatus = .blocked) -> Problem {
            Problem(target: host.name, status: status, message: message)
        }
        let end = ContinuousClock.now + locks.patience
        while true {
            let answer: HoldAnswer
            do throws(HostFailure) {
                answer = try await hosts.hold(HostLogin(host), as: locks.who, process: locks.process, unlessChangedSince: locks.mark(of: host.name))
            } catch {
                return error.problem(at: host.name)
            }
            switch answer {
            case .held: return nil
            case .busy(let mark):
                if ContinuousClock.now < end, !locks.isGivenUp {
                    try? await Task.sleep(for: .milliseconds(500))
                    continue
                }
                // A mark that is closed names who was there before.
                let who = mark.isHeld ? holder(mark) : "somebody who does not say who (fuser -v /run/plumb/lock/host, there, shows it)"
                return blocked("\(host.name) is being changed by \(who). Wait for it, or let --lock-timeout do so")
            case .moved(let mark):
                let who = mark.who.isEmpty ? "it was restarted" : "it was changed by \(holder(mark))"
                return blocked("\(who) after it was planned. Run it again")
            case .paused(let reason):
                return blocked("\(host.name) is paused by /etc/plumb/pause there: \(reason). Remove that file to go on", .held)
            case .refused(.missing(let tool)):
                let package = tool == "flock" ? "util-linux" : "coreutils"
                return blocked("\(host.name) can't be kept from others while it is changed: '\(tool)' is missing. Install \(package) there")
            case .refused(.said(let why)) where HostKinds.isDenial(why):
                let user = host.user ?? NSUserName()
                let advice =
                    host.become == .sudo
                    ? "sudoers lacks the line\n\(user) ALL=(root) NOPASSWD: \(hosts.holdCommands.joined(separator: ", "))\n"
                        + "which lets it keep others from changing the host at the same time, and nothing else."
                    : "Give the host 'become: sudo', or another user."
                return blocked("'\(user)' may not lock \(host.name): \(why)\n\(advice)", .denied)
            case .refused(.said(let why)):
                return blocked("\(host.name) can't be kept from others while it is changed: \(why.isEmpty ? "it does not say why" : why)", .unknown)
            }
        }
    }

    private func holder(_ mark: HostMark) -> String {
        guard !mark.who.isEmpty else { return "somebody who does not say who" }
        let since = mark.since.replacing("T", with: " ").replacing("Z", with: " UTC")
        return since.isEmpty ? mark.who : "\(mark.who) since \(since)"
    }

    /// With `--lock-timeout`: waits, before it is planned, until nobody else changes a host.
    ///
    /// - Returns: Whether somebody was waited for, so that it has to be looked at again.
    func awaitOthers(_ answer: HostAnswer, of host: ResourceModel.Host) async throws(HostFailure) -> Bool {
        var mark = HostPool.mark(in: answer)
        // What a step of a dead apply comes to is known soon; the lock goes with it.
        let isDead = locks.isOfDeadProcess(mark)
        let patience = isDead ? max(locks.patience, .seconds(90)) : locks.patience
        // By its process: `who` is shortened, and ours would then be taken for somebody else.
        guard mark.isHeld, mark.process != locks.process, patience > .zero else { return false }
        let end = ContinuousClock.now + patience
        let what = isDead ? "a step of an apply that has ended is still under way there, of" : "is being changed by"
        tell("\(host.name): \(what) \(holder(mark)); waiting for it, at most \(patience.components.seconds) s")
        while mark.isHeld, ContinuousClock.now < end {
            try? await Task.sleep(for: .milliseconds(500))
            mark = HostPool.mark(in: try await hosts.probe(HostLogin(host), sections: [hosts.holdSection]))
        }
        return true
    }

    /// What a plan, which takes no lock, says of somebody who changes a host.
    func notes(onHolderIn answer: HostAnswer, of host: ResourceModel.Host) -> [String] {
        let mark = HostPool.mark(in: answer)
        return mark.isHeld ? ["\(host.name): is being changed by \(holder(mark)); what is shown may differ in a moment"] : []
    }

    // MARK: Clusters

    private static let leaseName = "Lease \(ApplyLease.namespace)/\(ApplyLease.name)"

    private func lock(_ cluster: Cluster) async -> Problem? {
        func blocked(_ message: String, _ status: ProblemStatus = .blocked) -> Problem {
            Problem(target: cluster.name, status: status, message: message)
        }
        do throws(APIFailure) {
            let connection = try connection(to: cluster)
            let name = "\(locks.caller.user)@\(locks.caller.host)/\(locks.caller.process.pid)/\(String(UInt32.random(in: .min ... .max), radix: 16))"
            let claim = ApplyLease.Claim(holder: name, details: LeaseDetails(locks).json, duration: 30)
            let lease = ClusterLease(claim) { (request) throws(APIFailure) in try await connection.send(request) }
            let tell = tell
            let ending = await lease.take(
                patience: locks.patience,
                isDead: { LeaseDetails(json: $0.details)?.process.liveness == .dead },
                isGivenUp: { self.locks.isGivenUp },
                tell: { other in
                    tell(
                        "\(cluster.name): \(Self.holder(of: other)) holds \(Self.leaseName); "
                            + "waiting whether it still lives, at most \(max(other.duration, Int64(self.locks.patience.components.seconds))) s"
                    )
                }
            )
            switch ending {
            case .held:
                locks.keep(lease, of: cluster.name)
                return nil
            case .taken(let other):
                return blocked(
                    "\(cluster.name) is being changed by \(Self.holder(of: other)), who holds \(Self.leaseName). Wait for it, or let --lock-timeout do so"
                )
            case .refused(let status, let verb): return blocked(Self.refusal(status, verb), status.isMissingRight ? .denied : .unknown)
            case .failed(let failure): return failure.problem(at: cluster.name)
            }
        } catch {
            return error.problem(at: cluster.name)
        }
    }

    private static func holder(of lease: ApplyLease) -> String {
        let since = lease.acquired.split(separator: ".").first.map { " since \($0.replacing("T", with: " ").replacing("Z", with: "")) UTC" } ?? ""
        guard let details = LeaseDetails(json: lease.details) else { return "'\(lease.holder)'\(since)" }
        return "\(details.who)\(since)"
    }

    private static func refusal(_ status: APIStatus, _ verb: String) -> String {
        guard status.isMissingRight else { return "the lock of the cluster, \(leaseName), can't be taken: \(status)" }
        let user = status.user.map { "user \($0)" } ?? "this user"
        return "the lock of the cluster, \(leaseName), can't be taken: \(user) may not \(verb) leases.coordination.k8s.io in namespace "
            + "\(ApplyLease.namespace). A Role there with apiGroups [\"coordination.k8s.io\"], resources [leases], verbs [get, create, update] lets it; "
            + "once the Lease is there, [get, update] with resourceNames [\(ApplyLease.name)] are enough"
    }
}

/// What is written into a Lease for other runs of Plumb.
private struct LeaseDetails: Codable {
    var who: String
    var process: ProcessIdentity

    init(_ locks: TargetLocks) {
        who = locks.who
        process = locks.caller.process
    }

    init?(json: String) {
        guard let details = try? JSONDecoder().decode(LeaseDetails.self, from: Data(json.utf8)) else { return nil }
        self = details
    }

    var json: String { (try? JSONEncoder().encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "" }
}

extension ActionOutcome {
    /// Whether its target may be another one than before.
    fileprivate var wasStarted: Bool {
        if case .skipped = self { false } else { true }
    }
}

extension ProcessIdentity {
    /// `PID.START.BOOT`, of digits and letters only.
    fileprivate var mark: String { "\(pid).\(started).\(bootID.filter { $0 != "-" })" }

    /// Of another container's process it may be wrong; it is only ever waited for.
    fileprivate init?(mark: String) {
        let here = Self.current
        let parts = mark.split(separator: ".")
        guard parts.count == 3, let pid = Int32(parts[0]), let started = UInt64(parts[1]), parts[2] == here.bootID.filter({ $0 != "-" }) else {
            return nil
        }
        self.init(pid: pid, started: started, bootID: here.bootID, namespace: here.namespace)
    }
}
