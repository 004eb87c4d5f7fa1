import Applying
import DriftDetection
import Foundation
import Planning
import ResourceModel
import Stores
import Synchronization

/// What is kept of targets, as one run uses it: whether they are who they were, and what Plumb has changed on hosts.
final class HostInventory: Sendable {
    private struct State {
        var inventory = Inventory()
        /// The identities in it.
        var known: [String: KnownIdentity] = [:]
        /// Who was met in this run, by name.
        var seen: [String: TargetIdentity] = [:]
    }

    private let state = Mutex(State())

    /// Reads what is known.
    ///
    /// - Parameter path: the data directory; nil: none is known, and with it nobody.
    func load(from path: String?) throws(StoreFailure) {
        guard let path, !path.isEmpty else { return }
        let inventory = try Inventory.read(in: DataDirectory(existing: path))
        state.withLock {
            $0.inventory = inventory
            $0.known = inventory.identities.mapValues(KnownIdentity.init)
        }
    }

    /// What Plumb has changed on hosts.
    var held: [HeldSetting] { state.withLock { $0.inventory.settings }.compactMap(HeldSetting.init) }

    private var known: [String: KnownIdentity] { state.withLock { $0.known } }

    /// Passes on what a target answered if it is who it was when it was last met, or is not known yet; else nothing of it is used.
    func checked(_ observation: TargetObservation, of target: Target) -> TargetObservation {
        guard case .observed(var facts) = observation else { return observation }
        let identity = TargetIdentity(of: target, as: facts.identity)
        switch recognise(identity, as: target.name) {
        case .new, .same: state.withLock { $0.seen[target.name] = identity }
        case .other(let message): return .failed(Problem(target: target.name, status: .blocked, message: message))
        case .unknowable(""): break
        case .unknowable(let note): facts.notes.append(note)
        }
        return .observed(facts)
    }

    /// Whether another one answers to this name than is known by it.
    func isStranger(_ target: Target, as identity: String) -> Bool {
        if case .other = recognise(TargetIdentity(of: target, as: identity), as: target.name) { true } else { false }
    }

    private func recognise(_ identity: TargetIdentity, as name: String) -> Recognition {
        identity.recognised(as: name, among: known)
    }

    /// Whether a host was met and is the one that the inventory is about.
    func isRecognised(_ target: String) -> Bool { state.withLock { $0.seen[target] != nil } }

    /// Who answered to this name in this run.
    func identity(of target: String) -> String? {
        state.withLock { $0.seen[target] }.map { "\($0.kind.rawValue) \($0.id ?? "") \($0.hostKey ?? "")" }
    }

    // MARK: Writing

    /// Writes down who was met.
    func noteSeen(in journal: Journal, at time: Date) async throws(StoreFailure) {
        let seen = state.withLock { $0.seen }
        try await journal.noteSeen(
            seen.sorted { $0.key < $1.key }.compactMap { name, identity in
                guard let id = identity.id else { return nil }
                return Inventory.Identity(
                    target: name,
                    kind: identity.kind.rawValue,
                    id: id,
                    hostKey: identity.hostKey,
                    firstSeen: time,
                    lastSeen: time
                )
            }
        )
    }

    /// Writes down what an apply that failed or died has done after all: what it was about is as declared.
    func noteSettled(in plan: Plan, in journal: Journal) async throws(StoreFailure) {
        let uncertain = held.filter { $0.fields.contains(where: \.isUncertain) }.map(\.address)
        let settled = Set(uncertain).intersection(plan.unchanged).sorted()
        if !settled.isEmpty { try await journal.confirm(settled.map(\.description)) }
    }

    /// Writes down which settings have been said to be no longer declared.
    func noteReported(in plan: Plan, desired: DesiredState, kinds: [RegisteredKind], in journal: Journal) async throws(StoreFailure) {
        let said = Set(plan.notes)
        var reported: [String: Set<String>] = [:]
        for orphan in orphans(of: held, in: desired, kinds: kinds) {
            var fields = orphan.fields.filter(\.isReported)
            if let new = orphan.unreported(repeats: false), said.contains(new.orphanNote) { fields += new.fields }
            if !fields.isEmpty { reported[orphan.address.description] = Set(fields.map(\.path)) }
        }
        let before = held.filter { $0.fields.contains(where: \.isReported) }.map { setting in
            (setting.address.description, Set(setting.fields.filter(\.isReported).map(\.path)))
        }
        if reported != Dictionary(uniqueKeysWithValues: before) { try await journal.markReported(reported) }
    }

    /// Adds to an apply that what it changes on hosts is written down: before the first change of a host, with what was there before, and after
    /// the last.
    func recording(_ collaborators: ApplyCollaborators, in record: ApplyRecord) -> ApplyCollaborators {
        let before = collaborators
        var collaborators = collaborators
        collaborators.prepare = { target, actions in
            if let problem = await before.prepare(target, actions) { return problem }
            guard case .host = target, self.isRecognised(target.name) else { return nil }
            do throws(StoreFailure) {
                try await record.journal.hold(actions.map(SettingChange.init), at: target.name, run: record.run, time: Date())
                return nil
            } catch {
                record.lose(error)
                return Problem(target: target.name, status: .blocked, message: error.message)
            }
        }
        collaborators.conclude = { target, endings in
            if case .host = target, self.isRecognised(target.name) {
                let endings = endings.map { (SettingChange($0.0), SettingEnding($0.1)) }
                do throws(StoreFailure) {
                    try await record.journal.settle(endings, at: target.name, run: record.run, time: Date())
                } catch {
                    record.lose(error)
                }
            }
            await before.conclude(target, endings)
        }
        return collaborators
    }
}

extension KnownIdentity {
    init(_ identity: Inventory.Identity) {
        self.init(
            kind: TargetIdentity.Kind(rawValue: identity.kind) ?? .host,
            id: identity.id,
            hostKey: identity.hostKey,
            firstSeen: identity.firstSeen.day,
            lastSeen: identity.lastSeen.day
        )
    }
}

extension Date {
    /// `2026-08-01`, in UTC.
    var day: String { String(shown.prefix(10)) }
}

extension HeldSetting {
    init?(_ setting: Inventory.Setting) {
        let start = "\(setting.target)/"
        guard setting.address.hasPrefix(start) else { return nil }
        self.init(
            address: ResourceAddress(target: setting.target, resource: String(setting.address.dropFirst(start.count))),
            kind: setting.kind,
            handler: setting.handler,
            fields: setting.fields.map { field in
                .init(
                    path: field.path,
                    before: field.before,
                    applied: field.applied,
                    isReported: field.isReported,
                    isUncertain: field.isPending
                )
            }
        )
    }
}

extension SettingChange {
    init(_ action: Action) {
        self.init(address: action.address.description, kind: action.kind, handler: action.handler, fields: ActionStart(action).fields)
    }
}

extension SettingEnding {
    init(_ outcome: ActionOutcome) {
        self =
            switch outcome {
            case .succeeded: .changed
            case .failed: .uncertain
            case .skipped, .rolledBack: .asBefore
            }
    }
}
