import Foundation
package import Logging
import Planning
import Reconciling
package import ResourceModel
import Synchronization

/// Follows a source and its targets, and holds the targets to what the source declares.
///
/// - Flow: a revision comes into force; every target is looked at from scratch and changed; from then on an event leads to a look at what it is
///   about, and everything is looked at again now and then.
/// - Guarantees: never two passes at once at one target. A target that gives no answer delays no other. A revision with a mistake changes nothing.
package actor Controller {
    let configuration: Configuration
    let collaborators: ControllerCollaborators
    let metrics: Metrics
    let log: Logger
    private let version: String
    private let started = Date()
    private let origin = ContinuousClock.now

    var queue: WorkQueue
    var targets: [String: TargetState] = [:]
    var revision: Revision?
    var revisionSince: Date?
    var failuresAtRevision = 0
    /// The revision since which every target that answers was looked at.
    var settled: String?
    let retryDelays = RetryDelays()

    // What was asked of the source.
    var announced: [String?] = []
    var webhooksArrive = false
    var lastAsked: Date?
    var sourceMistakes: [String] = []
    var refusedRevision: String?
    private var sourceSignal: CheckedContinuation<Void, Never>?
    private var sourceTimer: Task<Void, Never>?

    // What is not done by itself, or not yet.
    var settling = Settling()
    var fights: Fights
    private var remembered: ControllerMemory
    /// What is remembered is being kept.
    private var keeping: Task<Void, Never>?
    /// The time it takes to begin with that.
    private var keepingPause: Task<Void, Never>?
    private var pauses: [Pause] = []
    /// Told where what is only reported may have changed.
    var driftChanges: AsyncStream<Void>.Continuation?

    private var isLeading: Bool
    /// How often it has begun to lead.
    private(set) var term = 0
    private let mayLead: @Sendable () -> Bool
    /// Read before every change, from wherever it is made.
    private let mayAct: Mutex<Bool>
    private var alarm: (due: Duration, task: Task<Void, Never>)?
    private var passes: [String: Task<Void, Never>] = [:]
    var waiters: [Waiter] = []
    private var isStopping = false
    /// Targets that are being changed.
    var changing: Set<String> = []
    /// Hosts that are being changed, and who waits to change one.
    var slotsTaken = 0
    var slotWaiters: [CheckedContinuation<Void, Never>] = []
    private var idleSignal: [CheckedContinuation<Void, Never>] = []

    /// Somebody who waits until a commit was carried out everywhere.
    struct Waiter {
        var commit: String
        var id: UUID
        var continuation: CheckedContinuation<[String], Never>
    }

    package init(
        _ configuration: Configuration,
        collaborators: ControllerCollaborators,
        metrics: Metrics,
        log: Logger,
        version: String,
        memory: ControllerMemory = ControllerMemory(),
        isLeading: Bool = true,
        mayLead: @escaping @Sendable () -> Bool = { true }
    ) {
        self.configuration = configuration
        self.collaborators = collaborators
        self.metrics = metrics
        self.log = log
        self.version = version
        self.isLeading = isLeading
        self.mayLead = mayLead
        remembered = memory
        fights = memory.fights
        fights.limits = Fights.Limits(
            reverts: configuration.fights.reverts,
            window: configuration.fights.within,
            longestBackoff: configuration.fights.maximumBackoff
        )
        mayAct = Mutex(isLeading)
        queue = WorkQueue(healthy: configuration.limits.concurrency, suspect: max(4, configuration.limits.concurrency / 2))
    }

    /// Time since the controller was made, as the queue counts it.
    var now: Duration { origin.duration(to: .now) }

    /// Follows the source until the task is cancelled or `stop()` is called; then what is under way ends.
    package func run() async {
        metrics.set(.leading, to: isLeading ? 1 : 0)
        await followSource()
    }

    /// Ends: nothing new is started, what is under way is finished and observed.
    package func stop() async {
        isStopping = true
        mayAct.withLock { $0 = false }
        sourceTimer?.cancel()
        wakeSource()
        alarm?.task.cancel()
        for state in targets.values { state.following?.cancel() }
        for waiter in waiters { waiter.continuation.resume(returning: ["the controller is ending"]) }
        waiters = []
        // Who only looks has nothing to finish.
        for (name, pass) in passes where !changing.contains(name) { pass.cancel() }
        if !changing.isEmpty {
            log.info("finishing what is under way", metadata: ["targets": "\(changing.sorted().joined(separator: ", "))"])
            let limit = configuration.limits.shutdown
            let timer = Task {
                try? await Task.sleep(for: limit)
                self.giveUpWaiting()
            }
            await withCheckedContinuation { idleSignal.append($0) }
            timer.cancel()
        }
        keepingPause?.cancel()
        await keeping?.value
    }

    private func giveUpWaiting() {
        if !changing.isEmpty { log.warning("not finished in time", metadata: ["targets": "\(changing.sorted().joined(separator: ", "))"]) }
        signalIdle()
    }

    private func signalIdle() {
        for continuation in idleSignal { continuation.resume() }
        idleSignal = []
    }

    package var isEnding: Bool { isStopping }

    /// With more than one replica only one acts. Who follows keeps the source read, and contacts no target.
    package func setLeading(_ leads: Bool) {
        guard leads != isLeading else { return }
        isLeading = leads
        if leads { term += 1 }
        driftChanges?.yield()
        mayAct.withLock { $0 = leads && !isStopping }
        metrics.set(.leading, to: leads ? 1 : 0)
        log.info(leads ? "leading" : "following: another one leads")
        collaborators.hear(.leading(leads))
        for name in targets.keys {
            if leads {
                targets[name]?.observedAt = nil
                request(name, .whole, because: "became the leader")
                startFollowing(name)
            } else {
                targets[name]?.following?.cancel()
                targets[name]?.following = nil
                targets[name]?.isFollowed = false
            }
        }
    }

    var leads: Bool { isLeading && !isStopping }

    /// Whether a change may still be started; asked from any thread before each.
    nonisolated var isAllowedToAct: Bool { mayAct.withLock { $0 } && mayLead() }

    /// Time of day, as the engine takes it.
    var moment: Moment { Moment(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)) }

    // MARK: The brake

    /// What is paused has changed, or may have: what it is about is looked at again.
    ///
    /// - Parameter resumed: What is to be tried again at once, also where it was fought over.
    package func pausesChanged(resumed: [Pause.Scope] = []) {
        for scope in resumed { fights.forget(scope) }
        guard case .success(let now) = collaborators.pauses() else { return }
        let changed =
            pauses.filter { !now.contains($0) } + now.filter { !pauses.contains($0) } + resumed.map { Pause($0, reason: "", origin: .command) }
        pauses = now
        guard !changed.isEmpty else { return }
        for pause in changed where now.contains(pause) { log.info("\(pause.message())", metadata: ["pause": "\(pause.scope.words)"]) }
        for (name, state) in targets {
            guard state.resources.contains(where: { resource in changed.contains { $0.covers(resource.address) } }) || !state.open.isEmpty else {
                continue
            }
            request(name, .whole, because: "pause or resume")
        }
    }

    /// Goes on with what the leader before has left.
    package func takeOver(_ memory: ControllerMemory) {
        let limits = fights.limits
        fights = memory.fights
        fights.limits = limits
    }

    /// Keeps what has to outlive the process, where it has changed.
    func remember() {
        guard leads else { return }
        var memory = remembered
        memory.fights = fights
        if let revision {
            memory.commit = revision.commit
            memory.ref = revision.ref
            memory.hadSpecs = !revision.desired.resources.isEmpty
        }
        guard memory != remembered else { return }
        // What is counted of fights changes with each repair, and may wait for the next; which revision is good may not.
        let isUrgent = memory.commit != remembered.commit || memory.ref != remembered.ref || memory.hadSpecs != remembered.hadSpecs
        remembered = memory
        if isUrgent { keepingPause?.cancel() }
        // One after the other, so that the last word is the last one kept.
        if keeping == nil { keeping = Task { await self.keepRemembered(isUrgent: isUrgent) } }
    }

    private func keepRemembered(isUrgent: Bool) async {
        if !isUrgent, !isStopping {
            let pause = Task { _ = try? await Task.sleep(for: .milliseconds(250)) }
            keepingPause = pause
            await pause.value
            keepingPause = nil
        }
        while true {
            let memory = remembered
            await collaborators.remember(memory)
            if memory == remembered { break }
        }
        keeping = nil
    }

    // MARK: Work

    func request(_ target: String, _ scope: WorkQueue.Scope, because reason: String, after delay: Duration = .zero) {
        guard targets[target] != nil else { return }
        let now = now
        queue.request(target, scope, because: reason, at: now, due: now + delay)
        pump()
    }

    /// Starts what may start, and sees to it that the rest is thought of in time.
    func pump() {
        guard leads else { return }
        // One time for all of it: what becomes due between two readings of the clock would neither be started nor thought of.
        let now = now
        while let work = queue.next(at: now) {
            guard targets[work.target] != nil else {
                queue.finish(work.target, answered: true)
                continue
            }
            passes[work.target] = Task {
                await self.carryOut(work)
                self.ended(work.target)
            }
        }
        metrics.set(.queueDepth, to: Double(queue.depth(at: now)))
        guard let due = queue.nextDue(after: now) else { return }
        if let alarm, alarm.due <= due, !alarm.task.isCancelled { return }
        alarm?.task.cancel()
        let delay = due - now
        alarm = (
            due,
            Task {
                try? await Task.sleep(for: delay, tolerance: .milliseconds(1))
                if !Task.isCancelled { self.alarmRang() }
            }
        )
    }

    private func alarmRang() {
        alarm = nil
        pump()
    }

    private func ended(_ target: String) {
        passes[target] = nil
        if changing.isEmpty { signalIdle() }
        pump()
    }

    // MARK: Source

    /// Waits until the source should be asked: a push was announced, or it is time.
    ///
    /// - Returns: false: the end was asked for.
    func awaitSourceTurn(_ delay: Duration) async -> Bool {
        if !announced.isEmpty || isStopping { return !isStopping }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                sourceSignal = continuation
                sourceTimer = Task {
                    try? await Task.sleep(for: delay)
                    if !Task.isCancelled { self.wakeSource() }
                }
            }
        } onCancel: {
            Task { await self.wakeSource() }
        }
        sourceTimer?.cancel()
        return !isStopping && !Task.isCancelled
    }

    func wakeSource() {
        sourceSignal?.resume()
        sourceSignal = nil
    }

    /// A push was announced: the source is asked now, until the commit is there.
    ///
    /// - Parameter commit: nil: nothing was said of it.
    package func announce(commit: String?, byWebhook: Bool) {
        if byWebhook { webhooksArrive = true }
        if !announced.contains(commit), announced.count < 1000 { announced.append(commit) }
        wakeSource()
    }

    /// Waits until a commit was carried out at all targets, or refused.
    ///
    /// - Returns: what came of it, a line each, for who pushed it.
    package func outcome(of commit: String, within limit: Duration) async -> [String] {
        if let lines = outcomeNow(of: commit) { return lines }
        if isStopping { return ["the controller is ending"] }
        let id = UUID()
        let timer = Task {
            try? await Task.sleep(for: limit)
            if !Task.isCancelled { self.giveUp(id, limit) }
        }
        defer { timer.cancel() }
        return await withCheckedContinuation { waiters.append(Waiter(commit: commit, id: id, continuation: $0)) }
    }

    private func giveUp(_ id: UUID, _ limit: Duration) {
        guard let index = waiters.firstIndex(where: { $0.id == id }) else { return }
        let waiter = waiters.remove(at: index)
        waiter.continuation.resume(returning: unfinished(waiter.commit, limit))
    }

    // MARK: Status

    package var isReady: Bool { revision != nil }

    /// nil: none yet, or another replica acts.
    package var acting: Revision? { leads ? revision : nil }

    package func status() -> ControllerStatus {
        let now = now
        let label = revision?.label
        let rows = targets.values.sorted { $0.target.name < $1.target.name }.map { state in
            let standing: ControllerStatus.Standing =
                if state.open.values.contains(where: { $0.status != "drift" }) {
                    .problem
                } else if !state.open.isEmpty {
                    .drifting
                } else {
                    label != nil && state.observedAt == label ? .inSync : .pending
                }
            return ControllerStatus.TargetStatus(
                name: state.target.name,
                standing: standing,
                inSyncAt: state.inSyncAt?.label,
                inSyncSince: state.inSyncAt?.since,
                isFollowed: state.isFollowed,
                open: state.open.values.sorted { ($0.address ?? "", $0.message) < ($1.address ?? "", $1.message) },
                lastPass: state.lastPass,
                next: queue.due(state.target.name).map { Date() + Double(($0 - now).components.seconds) }
            )
        }
        return ControllerStatus(
            version: version,
            started: started,
            leading: isLeading,
            source: .init(
                url: configuration.source.url,
                revision: revision?.commit ?? label,
                since: revisionSince,
                lastAsked: lastAsked,
                mistakes: sourceMistakes,
                refusedRevision: refusedRevision
            ),
            targets: rows,
            queueDepth: queue.depth(at: now)
        )
    }
}

extension Metrics.Metric {
    static let leading = Self("plumb_leading", .gauge, "Whether this replica acts.")
    static let queueDepth = Self("plumb_queue_depth", .gauge, "Targets that wait to be looked at.")
    static let passes = Self("plumb_passes_total", .counter, "Passes, by how they ended: insync, changed, problem, failed.")
    static let passSeconds = Self("plumb_pass_seconds", .histogram, "How long passes took.")
    static let reactionSeconds = Self("plumb_reaction_seconds", .histogram, "From an event to the end of the pass it led to.")
    static let drift = Self("plumb_drift", .gauge, "Resources that are not as declared, by kind and target.")
    static let problems = Self("plumb_problems", .gauge, "Problems, by status and target.")
    static let changes = Self("plumb_changes_total", .counter, "Changes made, by kind, target and outcome.")
    static let watchRestarts = Self("plumb_watch_restarts_total", .counter, "Times that following a target began anew.")
    static let followed = Self("plumb_followed_targets", .gauge, "Targets whose events arrive at the moment.")
    static let fetches = Self("plumb_source_fetches_total", .counter, "Times the source was asked, by outcome.")
    static let sourceRevision = Self("plumb_source_revision_info", .gauge, "The revision in force.")
    static let sourceMistakes = Self("plumb_source_mistakes", .gauge, "Mistakes of the newest revision, which is not in force because of them.")
}
