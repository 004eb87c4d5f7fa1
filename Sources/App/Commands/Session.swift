import Applying
import ArgumentParser
import Foundation
import Planning
import Reconciling
import Reporting
import ResourceModel
import SpecSources
import Stores

/// One run of `plan` or `apply`: the specs, the connections, and the pass over both.
struct Session {
    private let pass: Pass
    private let dataDirectory: String?
    private let composition: Composition
    private let terminal: Terminal
    private let concurrency: Int

    /// Reads and checks the specs; nothing is contacted yet.
    ///
    /// - Parameter confirmTimeout: How long a change that may cut the connection may take to be confirmed; nil: nothing is changed in this run.
    /// - Throws: exit status 1, after every mistake was printed.
    init(source: String, options: SharedOptions, confirmTimeout: Duration? = nil, terminal: Terminal) throws {
        let desired = try Source.load(source, contextIsGiven: options.context != nil || Source.isInPod, terminal: terminal)
        let selection = options.selection
        let unmatched = selection.unmatched(in: desired)
        if !unmatched.isEmpty {
            let targets = desired.targets.map(\.name)
            for glob in unmatched {
                let name = String(glob.pattern.prefix { $0 != "/" })
                let nearest = Diagnostic.nearest(to: name, among: targets).map { "Did you mean '\($0)'? " } ?? ""
                terminal.writeError("\(terminal.errors.errorWord): --target '\(Escaping.shown(glob.pattern))' means no target of the specs\n")
                terminal.writeError("    \(nearest)There are: \(Escaping.shown(targets.joined(separator: ", "))).\n")
            }
            throw ExitCode(1)
        }
        var pass = Pass(
            desired: desired,
            kinds: Source.kinds,
            source: source,
            selection: selection,
            concurrency: options.concurrency,
            maxDeletes: options.maxDeletes
        )
        composition = Composition(options: options, source: SourceIdentity(of: source), confirmTimeout: confirmTimeout) {
            terminal.writeError("\(Escaping.shown($0))\n")
        }
        pass.repeatsOrphans = options.verbose
        self.pass = pass
        concurrency = options.concurrency
        dataDirectory = options.dataDirectoryPath
        self.terminal = terminal
    }

    /// Asks all targets that are meant and plans, with a line of progress on stderr.
    func plan() async -> Plan {
        var pass = pass
        pass.held = recallHeld()
        var progress = ProgressLine(targets: pass.observedPart.resourcesByTarget().map { $0.0.name }, terminal: terminal)
        let plan = await pass.plan(
            observer: { target, resources in await composition.observe(target, resources) },
            progress: { progress.answered($0.name, $1) }
        )
        progress.finish()
        return plan
    }

    /// A plan needs nothing that is kept; what can't be read is said, and nobody is compared with who was there before.
    private func recallHeld() -> [HeldSetting] {
        do throws(StoreFailure) {
            try composition.inventory.load(from: dataDirectory)
        } catch {
            terminal.writeError("note: \(Escaping.shown(error.message)); so hosts and clusters are not compared with those that were there before\n")
        }
        return composition.inventory.held
    }

    /// Writes down who was met and, where a person has seen them, which settings are no longer declared.
    ///
    /// - Throws: exit status 1, after the reason was printed.
    func remember(_ plan: Plan, isShown: Bool, in record: ApplyRecord) async throws {
        do throws(StoreFailure) {
            try await composition.inventory.noteSeen(in: record.journal, at: Date())
            try await composition.inventory.noteSettled(in: plan, in: record.journal)
            if isShown { try await composition.inventory.noteReported(in: plan, desired: pass.desired, kinds: pass.kinds, in: record.journal) }
        } catch {
            throw terminal.failed(error, "nothing was changed")
        }
    }

    func apply(
        _ plan: Plan,
        record: ApplyRecord,
        wait: Duration?,
        isInterrupted: @escaping @Sendable () -> Bool,
        report: @escaping @Sendable (ApplyEvent) -> Void
    ) async -> ApplySummary {
        var collaborators = composition.inventory.recording(composition.applyCollaborators, in: record)
        let base = collaborators
        let desired = pass.desired
        composition.inventories.patience = wait ?? .seconds(30)
        collaborators.prepare = { target, actions in
            if let problem = await base.prepare(target, actions) { return problem }
            return await composition.recordHolding(target, actions, desired)
        }
        collaborators.conclude = { target, endings in
            await composition.recordOutcome(target, endings, desired)
            await base.conclude(target, endings)
        }
        collaborators.willStart = { await record.willStart($0) }
        collaborators.didEnd = { await record.didEnd($0, $1) }
        let summary = await Applying.apply(
            plan,
            desired: pass.desired,
            kinds: pass.kinds,
            collaborators: collaborators,
            options: ApplyOptions(concurrency: concurrency, wait: wait, isInterrupted: isInterrupted),
            report: report
        )
        await settleInventories()
        return summary
    }

    /// Writes down what was found out about the clusters that nothing was changed in: an annotation that says `keep` is no change of the object.
    func settleInventories() async {
        for case .cluster(let cluster) in pass.observedPart.targets { await composition.settleInventory(of: cluster) }
    }

    func close() async { await composition.close() }
}
