import DriftDetection
package import Observing
package import Planning
package import ResourceModel
import Synchronization

/// What Applying needs of the world; given by Composition.
package struct ApplyCollaborators: Sendable {
    /// Carries out one action's steps in order and stops at the first that fails; nil: all went through.
    package var execute: @Sendable (Target, Action) async -> Problem?
    package var observe: TargetObserver
    /// Waits until an object is ready, as its kind understands it; nil: it is. Kinds without readiness answer nil at once.
    package var awaitReadiness: @Sendable (Target, ResourceAddress, Duration) async -> String?

    package init(
        execute: @escaping @Sendable (Target, Action) async -> Problem?,
        observe: @escaping TargetObserver,
        awaitReadiness: @escaping @Sendable (Target, ResourceAddress, Duration) async -> String?
    ) {
        self.execute = execute
        self.observe = observe
        self.awaitReadiness = awaitReadiness
    }
}

package struct ApplyOptions: Sendable {
    /// Targets changed at the same time.
    package var concurrency: Int
    /// How much of the fleet may be touched, and when to stop.
    package var budget: ApplyBudget
    /// What the comparison with a saved plan has counted before.
    package var counted: ApplySummary
    /// How long an object that others depend on may take to become ready.
    package var dependencyReadiness: Duration
    /// With `--wait`: how long every changed object may take to become ready; nil: not waited for.
    package var wait: Duration?
    /// Once true, what runs is finished and observed, and nothing new is started.
    package var isInterrupted: @Sendable () -> Bool

    package init(
        concurrency: Int = 16,
        budget: ApplyBudget = ApplyBudget(),
        counted: ApplySummary = ApplySummary(),
        dependencyReadiness: Duration = .seconds(120),
        wait: Duration? = nil,
        isInterrupted: @escaping @Sendable () -> Bool = { false }
    ) {
        self.concurrency = concurrency
        self.budget = budget
        self.counted = counted
        self.dependencyReadiness = dependencyReadiness
        self.wait = wait
        self.isInterrupted = isInterrupted
    }
}

/// Carries a plan out.
///
/// - Flow: ready actions of one target run one after another, then the target is observed again, and only what is now as declared has
///   succeeded; then what depends on them runs.
/// - Guarantees: every action ends in exactly one of succeeded, failed, skipped; success is never inferred from an exit status.
/// - Errors: none are thrown; what went wrong is an event and a count in the summary.
package func apply(
    _ plan: Plan,
    desired: DesiredState,
    kinds: [RegisteredKind],
    collaborators: ApplyCollaborators,
    options: ApplyOptions,
    report: @escaping @Sendable (ApplyEvent) -> Void
) async -> ApplySummary {
    var summary = options.counted
    summary.planned += plan.actions.count
    summary.problems = plan.problems.count
    for action in plan.actions { report(.planned(action.address, action.operation.rawValue)) }

    let targets = Dictionary(desired.targets.map { ($0.name, $0) }) { first, _ in first }
    let run = BatchRun(
        resources: Dictionary(grouping: desired.resources, by: \.address.target),
        kinds: Dictionary(kinds.map { ($0.name, $0) }) { first, _ in first },
        collaborators: collaborators,
        options: options,
        dependedOn: Set(plan.actions.flatMap(\.dependsOn)),
        report: report
    )
    let hosts = Set(desired.targets.compactMap { if case .host(let host) = $0 { host.name } else { nil } })
    var schedule = ApplySchedule(plan.actions, limit: options.concurrency, budget: options.budget, hosts: hosts)
    let counts = Mutex(summary)

    @Sendable func count(_ address: ResourceAddress, _ outcome: ActionOutcome) {
        switch outcome {
        case .succeeded(let message):
            counts.withLock { $0.succeeded += 1 }
            report(.succeeded(address, message))
        case .failed(let message):
            counts.withLock { $0.failed += 1 }
            report(.failed(address, message))
        case .skipped(let message):
            counts.withLock { $0.skipped += 1 }
            report(.skipped(address, message))
        }
    }

    await withTaskGroup(of: (ApplySchedule.Batch, [ResourceAddress: ActionOutcome]).self) { group in
        func startReady() {
            guard !options.isInterrupted() else {
                for action in schedule.abandon() { count(action.address, .skipped(interrupted)) }
                return
            }
            for batch in schedule.start() {
                guard let target = targets[batch.target] else { continue }
                group.addTask { (batch, await run.carryOut(batch, at: target)) }
            }
        }
        startReady()
        while let (batch, outcomes) = await group.next() {
            var failed: Set<ResourceAddress> = []
            var notRun: Set<ResourceAddress> = []
            for action in batch.actions {
                let outcome = outcomes[action.address] ?? .failed("ended without an outcome; this is a mistake in Plumb, please report it")
                count(action.address, outcome)
                switch outcome {
                case .succeeded: break
                case .failed: failed.insert(action.address)
                case .skipped: notRun.insert(action.address)
                }
            }
            for (action, reason) in schedule.finish(batch, failed: failed, notRun: notRun) { count(action.address, .skipped(reason)) }
            startReady()
        }
    }
    summary = counts.withLock { $0 }
    report(.summary(summary))
    return summary
}

private let interrupted = "interrupted before it was started"

/// What all batches of one apply share.
private struct BatchRun: Sendable {
    var resources: [String: [DesiredResource]]
    var kinds: [String: RegisteredKind]
    var collaborators: ApplyCollaborators
    var options: ApplyOptions
    var dependedOn: Set<ResourceAddress>
    var report: @Sendable (ApplyEvent) -> Void

    func carryOut(_ batch: ApplySchedule.Batch, at target: Target) async -> [ResourceAddress: ActionOutcome] {
        var failures: [ResourceAddress: Problem] = [:]
        var lost: Problem?
        var batch = batch
        var notRun: [Action] = []
        for (index, action) in batch.actions.enumerated() {
            if options.isInterrupted() {
                notRun = Array(batch.actions[index...])
                batch.actions.removeSubrange(index...)
                break
            }
            if let lost {
                // The target is gone: trying the rest would only add time-outs. Nothing of it was started.
                failures[action.address] = lost
                continue
            }
            report(.started(action.address))
            if let problem = await collaborators.execute(target, action) {
                failures[action.address] = problem
                if problem.status == .unreachable { lost = problem }
            }
        }
        var outcomes = batch.actions.isEmpty ? [:] : await verify(batch, at: target, failures: failures)
        for action in notRun { outcomes[action.address] = .skipped(interrupted) }
        for action in batch.actions {
            guard case .succeeded(let message)? = outcomes[action.address], action.operation != .delete else { continue }
            let limit = options.wait ?? (dependedOn.contains(action.address) ? options.dependencyReadiness : nil)
            guard let limit else { continue }
            if let waiting = await collaborators.awaitReadiness(target, action.address, limit) {
                outcomes[action.address] = .failed("applied, but not ready after \(limit.inSeconds): \(waiting)")
            } else {
                outcomes[action.address] = .succeeded(message.isEmpty ? "ready" : message)
            }
        }
        return outcomes
    }

    private func verify(
        _ batch: ApplySchedule.Batch,
        at target: Target,
        failures: [ResourceAddress: Problem]
    ) async -> [ResourceAddress: ActionOutcome] {
        let all = resources[batch.target] ?? []
        let touched: [DesiredResource]
        switch target {
        case .host:
            // One probe reads everything, and a chain's address is not the one its spec has.
            touched = all
        case .cluster:
            let addresses = Set(batch.actions.map(\.address))
            touched = all.filter { addresses.contains($0.address) }
        }
        let observation = await collaborators.observe(target, touched)
        guard case .observed(let facts) = observation else {
            let why = if case .failed(let problem) = observation { problem.message } else { "" }
            return batch.actions.reduce(into: [:]) { outcomes, action in
                let before = failures[action.address].map { "\($0.message); " } ?? ""
                outcomes[action.address] = .failed("\(before)the result could not be observed: \(why)")
            }
        }
        let drift = detectDrift(resources: touched, facts: facts, kinds: kinds)
        let byAddress = Dictionary(drift.map { ($0.address, $0) }) { first, _ in first }
        return batch.actions.reduce(into: [:]) { outcomes, action in
            outcomes[action.address] = outcome(of: action, after: byAddress[action.address], all: drift, failure: failures[action.address])
        }
    }

    private func outcome(of action: Action, after: ResourceDrift?, all: [ResourceDrift], failure: Problem?) -> ActionOutcome {
        let cause = failure.map { "\($0.message)" }
        switch after?.standing {
        case .inSync:
            return .succeeded(cause.map { "is as declared, although a step failed: \($0)" } ?? "")
        case nil:
            // A chain that is gone has no address any more. That counts only if its table could be read.
            let unread = all.first { resource in
                guard case .problem(let status, _) = resource.standing else { return false }
                return resource.handler == action.handler && status.preventsReading
            }
            if case .problem(_, let message)? = unread?.standing { return .failed("the result could not be observed: \(message)") }
            return action.operation == .delete
                ? .succeeded(cause.map { "is gone, although a step failed: \($0)" } ?? "")
                : .failed(cause ?? "it is no longer there")
        case .problem(let status, let message):
            return .failed([cause, "\(status.rawValue): \(message)"].compactMap(\.self).joined(separator: "; "))
        case .missing, .differs, .surplus:
            let fields = (after?.differences ?? []).map(\.path).joined(separator: ", ")
            return .failed(cause ?? "all steps went through, but it still differs\(fields.isEmpty ? "" : " in \(fields)")")
        }
    }
}

extension Duration {
    fileprivate var inSeconds: String { "\(components.seconds) s" }
}
