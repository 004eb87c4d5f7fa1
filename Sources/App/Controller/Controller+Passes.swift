import Applying
import DriftDetection
import Foundation
import Logging
import Planning
import Reconciling
import Reporting
import ResourceModel
import Synchronization

extension Controller {
    /// Looks at a target or a part of it, and changes what differs and may be changed.
    func carryOut(_ work: WorkQueue.Work) async {
        guard let revision, let state = targets[work.target] else { return finish(work, answered: true) }
        let began = ContinuousClock.now
        var desired = slice(of: revision, state, work.scope)
        let observation: TargetObservation
        switch work.scope {
        case .whole: observation = await collaborators.observe(state.target, desired.resources)
        case .parts:
            switch await collaborators.observePart(state.target, desired.resources) {
            case .observed(let all): observation = all
            case .judged(let some, let addresses):
                observation = some
                desired.resources.removeAll { !addresses.contains($0.address) }
                if desired.resources.isEmpty { return finish(work, answered: true) }
            case .needsWhole(let why):
                finish(work, answered: true)
                log.debug("has to be looked at as a whole: \(why)", metadata: ["target": "\(work.target)"])
                return request(work.target, .whole, because: "event")
            }
        }

        var pass = Pass(
            desired: desired,
            kinds: collaborators.kinds,
            revision: revision.commit,
            source: configuration.source.url,
            selection: Self.selection(of: work.scope),
            concurrency: 1,
            maxDeletes: configuration.limits.maxDeletes
        )
        pass.held = work.scope == .whole ? collaborators.held() : []
        if case .success(let pauses) = collaborators.pauses() { pass.pauses = pauses }
        let observed = ObservedState(targets: [work.target: observation])
        var drift = pass.drift(desired, observed: observed)
        drift.waitedFor = Set(desired.resources.flatMap(\.dependsOn).filter { $0.target != work.target })
        var plan = pass.plan(drift)
        if plan.actions.contains(where: { $0.risk == .disconnecting }), let obstacle = await collaborators.undoObstacle(state.target) {
            plan = pass.plan(drift, undoObstacles: [work.target: obstacle])
        }
        let found = plan.actions
        let verdicts = verdicts(on: plan, drift, work)
        plan = plan.withholding(verdicts)
        let report = PassReport(plan: plan, drift: drift, found: found, reported: found.filter { verdicts[$0.address] == Self.reportedOnly })
        if !plan.actions.isEmpty, plan.refusal == nil, leads {
            changing.insert(work.target)
            report.summary = await apply(plan, desired, into: report)
            changing.remove(work.target)
        }
        conclude(work, revision, report, took: .now - began, observation)
    }

    /// What is declared at one target, with what it depends on elsewhere left out where that is as declared.
    private func slice(of revision: Revision, _ state: TargetState, _ scope: WorkQueue.Scope) -> DesiredState {
        var resources = state.resources
        if case .parts(let parts) = scope {
            let globs = parts.map { AddressGlob($0.description) }
            var wanted = Set(
                resources.filter { resource in globs.contains { $0.matches(resource.address) } || isPattern(resource, of: parts) }.map(\.address)
            )
            let byAddress = Dictionary(resources.map { ($0.address, $0) }) { first, _ in first }
            var open = Array(wanted)
            while let next = open.popLast() {
                for dependency in byAddress[next]?.dependsOn ?? [] where dependency.target == state.target.name {
                    if wanted.insert(dependency).inserted { open.append(dependency) }
                }
            }
            resources.removeAll { !wanted.contains($0.address) }
        }
        for index in resources.indices where !resources[index].dependsOn.isEmpty {
            resources[index].dependsOn.removeAll { dependency in
                guard dependency.target != state.target.name, let other = targets[dependency.target] else { return false }
                return other.observedAt == revision.label && !other.unsettled.contains(dependency)
            }
        }
        return DesiredState(targets: [state.target], resources: resources, contentHash: revision.desired.contentHash)
    }

    /// Whether a declared resource may stand for addresses that an event names: a chain's glob does.
    private func isPattern(_ resource: DesiredResource, of parts: Set<ResourceAddress>) -> Bool {
        guard case .host? = targets[resource.address.target]?.target else { return false }
        return parts.contains { part in
            part.target == resource.address.target && part.resource.prefix { $0 != "/" } == resource.address.resource.prefix { $0 != "/" }
        }
    }

    private static func selection(of scope: WorkQueue.Scope) -> Selection {
        guard case .parts(let parts) = scope else { return Selection() }
        return Selection(parts.sorted().map { AddressGlob($0.description) })
    }

    /// What of a plan is not done by itself, or not yet, and why.
    private func verdicts(on plan: Plan, _ drift: Drift, _ work: WorkQueue.Work) -> [ResourceAddress: Withheld] {
        let byAddress = Dictionary(drift.resources.map { ($0.address, $0) }) { first, _ in first }
        let (now, moment) = (now, moment)
        var verdicts: [ResourceAddress: Withheld] = [:]

        var looked: ((ResourceAddress) -> Bool)?
        if case .parts(let parts) = work.scope {
            let globs = parts.map { AddressGlob($0.description) }
            looked = { address in globs.contains { $0.matches(address) } }
        }
        let waiting = settling.look(at: work.target, parts: looked, found: plan.actions, now: now)
        for (address, until) in waiting {
            verdicts[address] = Settling.withheld(plan.actions.first { $0.address == address }?.settle ?? .zero)
            request(work.target, .parts([address]), because: "settles", after: until - now)
        }
        for resource in drift.resources where resource.standing == .inSync {
            fights.noteInSync(resource.address, at: moment)
            targets[work.target]?.wasInSync.insert(resource.address)
        }
        for action in plan.actions {
            guard case .contested(let until, let message) = fights.verdict(action.address, at: moment) else { continue }
            verdicts[action.address] = Withheld(.contested, message)
            request(work.target, .parts([action.address]), because: "one more try", after: until - moment)
        }
        for action in plan.actions {
            let origins = byAddress[action.address]?.origins ?? []
            if configuration.policy.mode(of: action.address, kind: action.kind, origins: origins) == .report {
                // What may be only passing through is not reported yet either.
                if waiting[action.address] == nil { verdicts[action.address] = Self.reportedOnly }
            } else if let limit = configuration.limits.maxFailures, failuresAtRevision > limit {
                let message = "not changed: \(failuresAtRevision) changes of this revision have failed, more than limits.maxFailures"
                verdicts[action.address] = Withheld(.blocked, message)
            }
        }
        return verdicts
    }

    private func apply(_ plan: Plan, _ desired: DesiredState, into report: PassReport) async -> ApplySummary {
        var isHost = false
        if case .host? = desired.targets.first { isHost = true }
        if isHost { await takeSlot() }
        defer { if isHost { giveSlot() } }
        let actions = Dictionary(plan.actions.map { ($0.address, $0) }) { first, _ in first }
        let (log, metrics) = (log, metrics)
        let isInterrupted: @Sendable () -> Bool = { !self.isAllowedToAct }
        return await collaborators.apply(plan, desired, isInterrupted) { event in
            guard let (address, outcome, message) = event.ending, let action = actions[address] else { return }
            report.note(event, of: address)
            metrics.increment(.changes, ["target": address.target, "kind": action.kind, "outcome": outcome])
            let metadata: Logger.Metadata = ["address": "\(address)"]
            if outcome == "succeeded" {
                log.info("changed: \(action.words)", metadata: metadata)
            } else {
                log.warning("\(outcome): \(action.words): \(message)", metadata: metadata)
            }
        }
    }

    // MARK: What came of it

    private func conclude(_ work: WorkQueue.Work, _ revision: Revision, _ report: PassReport, took: Duration, _ observation: TargetObservation) {
        guard var state = targets[work.target] else { return finish(work, answered: true) }
        let isWhole = work.scope == .whole
        let seconds = took / .seconds(1)
        let items = report.openItems()
        var answered = true
        if case .failed(let problem) = observation {
            answered = problem.status != .unreachable
            state.failures += 1
            if isWhole || !answered { state.observedAt = nil }
            state.open = items
        } else {
            state.failures = 0
            switch work.scope {
            case .whole: state.open = items
            case .parts(let parts):
                let globs = parts.map { AddressGlob($0.description) }
                state.open = state.open.filter { address, _ in address.map { address in !globs.contains { $0.matches(address) } } ?? false }
                state.open.merge(items) { $1 }
            }
            state.settle(isWhole: isWhole, at: revision.label, items, report)
            if state.open.isEmpty, state.observedAt == revision.label, self.revision?.label == revision.label {
                state.inSyncAt = (revision.label, Date())
            }
        }
        if case .observed = observation { noteReported(work, in: &state, report) }
        for action in report.succeeded {
            // Only what was as declared before, at this revision, was changed back by somebody.
            guard !state.wasInSync.insert(action.address).inserted else { continue }
            fights.noteRepaired(action.address, fields: action.fields.map(\.path), by: action.opponent, at: moment)
        }
        if !answered { settling.lost(work.target) }
        let changed = report.summary?.succeeded ?? 0
        let failed = (report.summary?.failed ?? 0) + (report.summary?.rolledBack ?? 0)
        failuresAtRevision += failed
        state.changed += changed
        state.failed += failed
        let unmade = failed + (report.summary?.skipped ?? 0) + (report.summary?.drifted ?? 0)
        state.unmade = unmade > 0 ? state.unmade + 1 : 0
        state.lastPass = .init(ended: Date(), seconds: seconds, reasons: work.reasons, isWhole: isWhole, changed: changed)
        let before = targets[work.target]
        targets[work.target] = state
        finish(work, answered: answered)
        plan(next: work, state, isWhole: isWhole)
        if case .observed(let facts) = observation, !facts.pauses.isEmpty, !state.open.isEmpty {
            // That its file is taken away is no event.
            request(work.target, .whole, because: "paused there", after: Self.pausedThere)
        }
        if case .observed = observation { startFollowing(work.target) }
        if before?.observedAt != state.observedAt || before?.unsettled != state.unsettled { wakeDependents(of: work.target) }
        tell(work, state, before, report, seconds: seconds)
        tellReported(state, before: before)
        remember()
        answerWaiters()
        noteSettled()
        if changed > 0 || before?.open != state.open { collaborators.hear(.changed(target: work.target)) }
    }

    /// How often a host is looked at that says itself that it is paused.
    private static let pausedThere = Duration.seconds(10)

    private func finish(_ work: WorkQueue.Work, answered: Bool) { queue.finish(work.target, answered: answered) }

    /// When this target is looked at again by itself.
    private func plan(next work: WorkQueue.Work, _ state: TargetState, isWhole: Bool) {
        let chance = Double.random(in: 0...1)
        if state.failures > 0 {
            return request(work.target, .whole, because: "retry", after: retryDelays.delay(failures: state.failures, chance: chance))
        }
        // What could not be changed or read is tried again; an event may come sooner.
        let isUnread = state.open.values.contains { ProblemStatus(rawValue: $0.status)?.preventsReading ?? false }
        if state.unmade > 0 || isUnread {
            let delay = retryDelays.delay(failures: isUnread ? 6 : state.unmade, chance: chance)
            request(work.target, work.scope, because: "retry", after: delay)
        }
        if isWhole { request(work.target, .whole, because: "audit", after: configuration.limits.audit * (1 - chance / 10)) }
    }

    /// What waits for something at this target is looked at again.
    private func wakeDependents(of target: String) {
        for (name, state) in targets where name != target && !state.open.isEmpty {
            guard state.resources.contains(where: { $0.dependsOn.contains { $0.target == target } }) else { continue }
            request(name, .whole, because: "\(target) has changed")
        }
    }

    private func tell(_ work: WorkQueue.Work, _ state: TargetState, _ before: TargetState?, _ report: PassReport, seconds: Double) {
        let name = work.target
        let result = state.failures > 0 ? "failed" : (report.summary?.succeeded ?? 0) > 0 ? "changed" : state.open.isEmpty ? "insync" : "problem"
        metrics.increment(.passes, ["target": name, "result": result])
        metrics.observe(.passSeconds, seconds: seconds)
        if work.scope != .whole { metrics.observe(.reactionSeconds, seconds: (now - work.requested) / .seconds(1)) }
        metrics.remove(.drift, where: "target", is: name)
        metrics.remove(.problems, where: "target", is: name)
        for (status, items) in Dictionary(grouping: state.open.values, by: \.status) {
            if status == "drift" {
                let kinds = Dictionary(grouping: items) { item in String(item.address?.split(separator: "/").dropFirst().first ?? "") }
                for (kind, items) in kinds { metrics.set(.drift, ["target": name, "kind": kind], to: Double(items.count)) }
            } else {
                metrics.set(.problems, ["target": name, "status": status], to: Double(items.count))
            }
        }
        let metadata: Logger.Metadata = [
            "target": "\(name)", "took": "\(Int(seconds * 1000)) ms", "because": "\(work.reasons.joined(separator: ", "))",
        ]
        // Said once, and again when it is another one.
        for (address, item) in state.open where before?.open[address] != item {
            log.warning("\(item.status): \(item.message)", metadata: ["address": "\(item.address ?? name)"])
        }
        if let before, !before.open.isEmpty, state.open.isEmpty { log.info("as declared again", metadata: metadata) }
        log.debug("looked at: \(result)", metadata: metadata)
    }

    // MARK: Hosts changed at the same time

    private func takeSlot() async {
        if slotsTaken < configuration.limits.maxUnavailable {
            slotsTaken += 1
            return
        }
        await withCheckedContinuation { slotWaiters.append($0) }
    }

    private func giveSlot() {
        if slotWaiters.isEmpty { slotsTaken -= 1 } else { slotWaiters.removeFirst().resume() }
    }
}

extension TargetState {
    /// Takes note of what is not as declared, by the addresses that the specs have: what depends on one of them waits.
    fileprivate mutating func settle(isWhole: Bool, at label: String, _ items: [ResourceAddress?: ControllerStatus.Open], _ report: PassReport) {
        let declared = Dictionary(grouping: resources) { $0.origins.first }
        let bad = Set(items.keys.compactMap(\.self))
        var seen: Set<ResourceAddress> = []
        var unsettled: Set<ResourceAddress> = []
        for resource in report.drift.resources {
            // A pattern's resources have addresses of their own, and the place of its document.
            let meant = [resource.address] + resource.origins.flatMap { declared[$0] ?? [] }.filter { $0.handler == resource.handler }.map(\.address)
            seen.formUnion(meant)
            if bad.contains(resource.address) { unsettled.formUnion(meant) }
        }
        if isWhole {
            self.unsettled = unsettled
            observedAt = label
        } else {
            self.unsettled.subtract(seen)
            self.unsettled.formUnion(unsettled)
        }
    }
}

/// What came of one pass.
final class PassReport: Sendable {
    let plan: Plan
    let drift: Drift
    /// All that differs and could be changed, done by itself or not.
    let found: [Action]
    /// Those of them that are reported and left at that.
    let reported: [Action]
    private let state = Mutex<(summary: ApplySummary?, endings: [ResourceAddress: ApplyEvent])>((nil, [:]))

    init(plan: Plan, drift: Drift, found: [Action], reported: [Action]) {
        self.plan = plan
        self.drift = drift
        self.found = found
        self.reported = reported
    }

    var summary: ApplySummary? {
        get { state.withLock { $0.summary } }
        set { state.withLock { $0.summary = newValue } }
    }

    /// What was changed.
    var succeeded: [Action] {
        let endings = state.withLock { $0.endings }
        return found.filter { if case .succeeded? = endings[$0.address] { true } else { false } }
    }

    func note(_ event: ApplyEvent, of address: ResourceAddress) { state.withLock { $0.endings[address] = event } }

    /// What is not as declared at the end of the pass.
    func openItems() -> [ResourceAddress?: ControllerStatus.Open] {
        var items: [ResourceAddress?: ControllerStatus.Open] = [:]
        for problem in plan.problems {
            items[problem.address] = .init(address: problem.address?.description, status: problem.status.rawValue, message: problem.message)
        }
        let endings = state.withLock { $0.endings }
        let notes = Dictionary(
            plan.notes.compactMap { note -> (String, String)? in
                note.firstIndex(of: " ").map { (String(note[..<$0].dropLast()), String(note[note.index(after: $0)...])) }
            }
        ) { first, _ in first }
        for action in found where items[action.address] == nil {
            var message = action.words
            switch endings[action.address]?.ending {
            case (_, "succeeded", _)?: continue
            case (_, let outcome, let why)?: message += "; \(outcome): \(why)"
            // Withheld without being a problem: the plan has a note of it.
            case nil: message += notes[action.address.description].map { "; \($0)" } ?? ""
            }
            items[action.address] = .init(address: action.address.description, status: "drift", message: message)
        }
        return items
    }
}

extension ApplyEvent {
    /// How an action ended, where this says so.
    var ending: (address: ResourceAddress, outcome: String, message: String)? {
        switch self {
        case .succeeded(let address, let message): (address, "succeeded", message)
        case .failed(let address, let message): (address, "failed", message)
        case .skipped(let address, let message): (address, "skipped", message)
        case .rolledBack(let address, let message): (address, "rolledBack", message)
        case .drifted(let address, let message): (address, "drifted", message)
        case .planned, .started, .stale, .unneeded, .unplanned, .summary: nil
        }
    }
}

extension Action {
    /// `flags.promiscuous: false → true`, in one line; sensitive values stay hidden.
    var words: String {
        let shown = fields.prefix(3).map { field in
            "\(field.path): \(field.observed.text) → \(field.desired.text)"
        }
        let rest = fields.count > 3 ? " and \(fields.count - 3) more" : ""
        return shown.isEmpty ? operation.rawValue : shown.joined(separator: ", ") + rest
    }
}
