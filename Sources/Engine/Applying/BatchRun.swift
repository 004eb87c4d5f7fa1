import DriftDetection
import Planning
import ResourceModel

/// What one batch came to.
struct BatchResult: Sendable {
    var outcomes: [ResourceAddress: ActionOutcome]
    /// What its target looked like afterwards.
    var seen: [ResourceDrift] = []
}

/// What all batches of one apply share.
struct BatchRun: Sendable {
    var resources: [String: [DesiredResource]]
    var kinds: [String: RegisteredKind]
    var collaborators: ApplyCollaborators
    var options: ApplyOptions
    var dependedOn: Set<ResourceAddress>
    var report: @Sendable (ApplyEvent) -> Void

    func carryOut(_ batch: ApplySchedule.Batch, at target: Target) async -> BatchResult {
        var failures: [ResourceAddress: Problem] = [:]
        var outcomes: [ResourceAddress: ActionOutcome] = [:]
        var undone: [ResourceAddress: String] = [:]
        var lost: Problem?
        for action in batch.actions {
            if options.isInterrupted() {
                outcomes[action.address] = .skipped(interrupted)
                continue
            }
            if let lost {
                // The target is gone: trying the rest would only add time-outs.
                outcomes[action.address] = .skipped("not started: \(lost.message)")
                continue
            }
            if let problem = await collaborators.willStart(action) {
                outcomes[action.address] = .skipped("not started: \(problem.message)")
                continue
            }
            report(.started(action.address))
            var problem: Problem?
            if action.risk == .disconnecting, let executeRisky = collaborators.executeRisky {
                switch await executeRisky(target, action, { await look(at: action, target: target) }) {
                case .confirmed: break
                case .refused(let why): problem = why
                case .undone(let why): undone[action.address] = why
                case .unknown(let why):
                    problem = why
                    undone[action.address] = why.message
                }
            } else {
                problem = await collaborators.execute(target, action)
            }
            guard let problem else { continue }
            failures[action.address] = problem
            if problem.status == .unreachable { lost = problem }
        }
        var tried = batch
        tried.actions.removeAll { outcomes[$0.address] != nil }
        if tried.actions.isEmpty { return BatchResult(outcomes: outcomes) }
        let verified = await verify(tried, at: target, failures: failures, undone: undone)
        outcomes.merge(verified.outcomes) { $1 }
        for action in batch.actions {
            // Hosts know no readiness: what was observed there is all there is.
            guard case .cluster = target, case .succeeded(let message)? = outcomes[action.address] else { continue }
            if action.operation == .delete || action.isUndeclared { continue }
            let limit = options.wait ?? (dependedOn.contains(action.address) ? options.dependencyReadiness : nil)
            guard let limit else { continue }
            if let waiting = await collaborators.awaitReadiness(target, action.address, limit, options.isInterrupted) {
                outcomes[action.address] = .failed("applied, but not ready after \(limit.inSeconds): \(waiting)")
            } else {
                outcomes[action.address] = .succeeded(message.isEmpty ? "ready" : message)
            }
        }
        return BatchResult(outcomes: outcomes, seen: verified.seen)
    }

    private func verify(
        _ batch: ApplySchedule.Batch,
        at target: Target,
        failures: [ResourceAddress: Problem],
        undone: [ResourceAddress: String]
    ) async -> BatchResult {
        switch await observe(batch, at: target) {
        case .failure(let problem):
            let outcomes: [ResourceAddress: ActionOutcome] = batch.actions.reduce(into: [:]) { outcomes, action in
                let before = (failures[action.address]?.message ?? undone[action.address]).map { "\($0); " } ?? ""
                outcomes[action.address] = .failed("\(before)the result could not be observed: \(problem.message)")
            }
            return BatchResult(outcomes: outcomes)
        case .success(let drift):
            let byAddress = Dictionary(drift.map { ($0.address, $0) }) { first, _ in first }
            let outcomes: [ResourceAddress: ActionOutcome] = batch.actions.reduce(into: [:]) { outcomes, action in
                let after = byAddress[action.address]
                if let why = undone[action.address] {
                    outcomes[action.address] = outcome(ofUndone: action, after: after, all: drift, why: why)
                } else {
                    outcomes[action.address] = outcome(of: action, after: after, all: drift, failure: failures[action.address])
                }
            }
            return BatchResult(outcomes: outcomes, seen: drift)
        }
    }

    func observe(_ batch: ApplySchedule.Batch, at target: Target) async -> Result<[ResourceDrift], Problem> {
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
        let observation =
            if let observeAgain = collaborators.observeAgain {
                await observeAgain(target, touched, batch.actions)
            } else {
                await collaborators.observe(target, touched)
            }
        switch observation {
        case .failed(let problem): return .failure(problem)
        case .observed(let facts): return .success(detectDrift(resources: touched, facts: facts, kinds: kinds))
        }
    }

    func outcome(of action: Action, after: ResourceDrift?, all: [ResourceDrift], failure: Problem?) -> ActionOutcome {
        let cause = failure.map { "\($0.message)" }
        switch after?.standing {
        case .inSync:
            return .succeeded(cause.map { "is as declared, although a step failed: \($0)" } ?? "")
        case nil:
            // A chain that is gone has no address any more. That counts only if its table could be read.
            let unread = all.first { resource in
                // What was pruned has an answer of its own.
                guard !action.isUndeclared, case .problem(let status, _) = resource.standing else { return false }
                return resource.handler == action.handler && status.preventsReading
            }
            if case .problem(_, let message)? = unread?.standing { return .failed("the result could not be observed: \(message)") }
            return action.operation == .delete || action.isUndeclared
                ? .succeeded(cause.map { "is \(action.operation == .delete ? "gone" : "given up"), although a step failed: \($0)" } ?? "")
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
