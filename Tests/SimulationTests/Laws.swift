import Applying
import Planning
import Reconciling
import ResourceModel
import Synchronization
import Values

/// What has to be true of every run, whatever happened to it.
extension SimulatedPlumb {
    /// Held against each event as it is reported.
    func check(_ event: ApplyEvent) {
        switch event {
        case .succeeded(let address, _):
            guard let desired = desired[address] else { return violate("\(address) succeeded and is not declared") }
            guard let seen = seen(address) else { return violate("\(address) succeeded, and nobody could read it") }
            if seen.value != desired { violate("\(address) succeeded and was seen as \(words(seen.value)), not \(words(desired))") }
            if isCluster(address.target), dependedOn.contains(address), !record.withLock({ $0.ready.contains(address) }) {
                violate("\(address) succeeded before it was ready, and others depend on it")
            }
            if Setting.name(of: address) == SimulatedHosts.link, desired == 0 || desired == 3 {
                violate("\(address) succeeded, and now nobody can connect")
            }
            if let last = own(address).last(where: { !$0.isUndo }), last.time > seen.time {
                violate("\(address) succeeded without having been looked at since it was changed")
            }
        case .rolledBack(let address, _):
            let before = record.withLock { $0.plan?.actions.first { $0.address == address }?.fields.first?.observed?.intValue }.map { Int($0) }
            guard let seen = seen(address) else { return violate("\(address) was rolled back, and nobody could read it") }
            if seen.value != before { violate("\(address) was rolled back and was seen as \(words(seen.value)), not \(words(before))") }
        case .failed(let address, let message):
            if message.isEmpty { violate("\(address) failed without a reason") }
            let isUnseen = ["could not be observed", "can't be read", "not ready after"].contains { message.contains($0) }
            if !isUnseen, let seen = seen(address), let desired = desired[address], seen.value == desired {
                violate("\(address) failed and was seen as declared: \(message)")
            }
        case .skipped(let address, let message):
            if message.isEmpty { violate("\(address) was skipped without a reason") }
            if !own(address).isEmpty { violate("\(address) was skipped and changed") }
        case .started(let address):
            if !record.withLock({ $0.started.contains(address) }) { violate("\(address) was started and not written down before") }
        case .drifted(let address, _):
            if let seen = seen(address), let desired = desired[address], seen.value == desired { violate("\(address) drifted, and is as declared") }
        case .planned, .summary, .stale, .unneeded, .unplanned: break
        }
    }

    /// Held against a run that has ended by itself or was killed.
    func checkAll(wasKilled: Bool) {
        let record = record.withLock { $0 }
        for write in hosts.writes where write.run == number {
            let address = ResourceAddress(target: write.host, resource: "Setting/\(write.setting)")
            let action = record.plan?.actions.first { $0.address == address }
            guard let action else {
                violate("\(address) was changed and is not part of the plan")
                continue
            }
            let field = action.fields.first
            let allowed = (write.isUndo ? field?.observed : field?.desired)?.intValue.map { Int($0) }
            if write.value != allowed { violate("\(address) was set to \(words(write.value)), planned was \(words(allowed))") }
            if write.isUndo, action.risk != .disconnecting { violate("\(address) was undone and has no risk") }
            let others = hosts.writes.contains { other in
                other.host == write.host && other.run != number && !other.isUndo && other.time <= write.time
                    && other.time > record.marks[write.host]?.time ?? .zero
            }
            if others, !write.isUndo { violate("\(address) was changed, planned on what another run has changed since") }
            if !write.isUndo, write.heldBy != number { violate("\(address) was changed, and the lock was not held") }
            if !record.started.contains(address) { violate("\(address) was changed before it was written down") }
        }
        for action in record.plan?.actions ?? [] {
            let writes = own(action.address).filter { !$0.isUndo }
            if writes.count > 1 { violate("\(action.address) was changed \(writes.count) times in one run") }
            // What it depends on was finished before.
            guard let first = writes.first else { continue }
            for dependency in action.dependsOn {
                if let before = own(dependency).first(where: { !$0.isUndo }), before.time > first.time {
                    violate("\(action.address) was changed before \(dependency), on which it depends")
                }
                if isCluster(dependency.target), desired[dependency] != .some(nil), !record.ready.contains(dependency) {
                    violate("\(action.address) was changed before \(dependency), on which it depends, was ready")
                }
                if let outcome = record.ended[dependency], case .succeeded = outcome { continue }
                if record.plan?.actions.contains(where: { $0.address == dependency }) == true {
                    violate("\(action.address) was changed although \(dependency) did not succeed")
                }
            }
        }
        guard !wasKilled else { return }
        guard let plan = record.plan, let summary = record.summary else { return violate("the run has no end") }
        if Set(record.ended.keys) != Set(plan.actions.map(\.address)) { violate("actions without an end, or ends without an action") }
        if summary.succeeded + summary.failed + summary.skipped + summary.rolledBack != plan.actions.count { violate("the summary does not add up") }
        if record.prepared.values.contains(where: { $0 != 1 }) || record.prepared != record.concluded {
            violate("prepared \(record.prepared), concluded \(record.concluded)")
        }
        if summary.isComplete {
            for (address, desired) in desired where seen(address)?.value != .some(desired) {
                violate("complete, and \(address) was seen as \(words(seen(address)?.value ?? nil)), not \(words(desired))")
            }
        }
        // Each that is not as declared has a reason somewhere.
        let named = Set(plan.actions.map(\.address)).union(plan.unchanged).union(plan.problems.compactMap(\.address))
        let deadTargets = Set(plan.problems.filter { $0.address == nil }.map(\.target))
        for address in desired.keys where !named.contains(address) && !deadTargets.contains(address.target) { violate("\(address) is in no list") }
    }

    private var desired: [ResourceAddress: Int?] {
        Dictionary(pass.desired.resources.map { ($0.address, $0.fields["value"]?.intValue.map { Int($0) }) }) { first, _ in first }
    }

    private var dependedOn: Set<ResourceAddress> {
        record.withLock { record in Set((record.plan?.actions ?? []).filter { $0.operation != .delete }.map(\.address)) }
            .intersection(record.withLock { Set(($0.plan?.actions ?? []).flatMap(\.dependsOn)) })
    }

    private func isCluster(_ target: String) -> Bool { target.hasPrefix("cluster") }

    private func seen(_ address: ResourceAddress) -> (value: Int?, time: Duration)? {
        guard let seen = record.withLock({ $0.seen[address.target] }), let settings = seen.settings else { return nil }
        return (settings[Setting.name(of: address)], seen.time)
    }

    private func own(_ address: ResourceAddress) -> [SimulatedHosts.Write] {
        let setting = Setting.name(of: address)
        return hosts.writes.filter { $0.run == number && $0.host == address.target && $0.setting == setting }
    }

    private func words(_ value: Int?) -> String { value.map(String.init) ?? "absent" }

    func violate(_ what: String) { record.withLock { $0.violations.append("run \(number): \(what)") } }
}

extension ActionOutcome {
    var word: String {
        switch self {
        case .succeeded: "succeeded"
        case .failed: "failed"
        case .skipped: "skipped"
        case .rolledBack: "rolled back"
        }
    }
}
