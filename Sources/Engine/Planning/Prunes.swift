import ResourceModel

/// `--max-deletes` where it is not given. A folder that was emptied by mistake has more files than this.
package let defaultMaxDeletes = 10

extension Plan {
    /// Takes back the prunes of each target at which something else can't be made as declared, and those that come after one that does not go.
    ///
    /// A renamed object is one to create and one to prune: where the new one can't be made, the old one has to stay. An operator stays while an
    /// object waits for it to take away its finalizer. What others hold (`held`, `contested`) stays so for good and is no reason to wait; what is
    /// only paused is one.
    ///
    /// - Parameters:
    ///   - undeclared: What is no longer declared, each with its phase.
    ///   - problems: What there is a reason to wait for.
    mutating func withholdPrunes(undeclared: [ResourceAddress: Int], because problems: [Problem]) {
        var obstacles: [String: [Problem]] = [:]
        var stuck: [String: (phase: Int, problem: Problem)] = [:]
        for problem in problems {
            guard let address = problem.address, let phase = undeclared[address] else {
                obstacles[problem.target, default: []].append(problem)
                continue
            }
            if stuck[problem.target].map({ phase < $0.phase }) ?? true { stuck[problem.target] = (phase, problem) }
        }
        func causes(_ action: Action) -> [Problem] {
            guard action.isUndeclared else { return [] }
            let target = action.address.target
            if let causes = obstacles[target] { return causes }
            return stuck[target].map { action.phase > $0.phase ? [$0.problem] : [] } ?? []
        }
        let withheld = actions.map { ($0.address, causes($0)) }.filter { !$0.1.isEmpty }
        guard !withheld.isEmpty else { return }
        actions.removeAll { !causes($0).isEmpty }
        for (address, causes) in withheld {
            let first = causes.first.map { "\($0.address?.description ?? $0.target) (\($0.status.rawValue))" } ?? ""
            let more = causes.count > 1 ? " and \(causes.count - 1) more" : ""
            let until =
                obstacles[address.target] == nil ? "what goes before it is gone" : "all else at \(address.target) is as declared"
            self.problems.append(
                Problem(
                    target: address.target,
                    address: address,
                    status: .blocked,
                    message: "no longer declared; it stays until \(until): waits for \(first)\(more)"
                )
            )
        }
    }

    /// Refuses the plan whole where it prunes more than it may.
    mutating func refuse(above limit: Int) {
        let prunes = actions.filter(\.isPrune).map(\.address)
        guard prunes.count > limit, let first = prunes.first else { return }
        let shown = prunes.prefix(5).map(\.description).joined(separator: ", ") + (prunes.count > 5 ? " and \(prunes.count - 5) more" : "")
        let what = prunes.count == 1 ? "1 object that is" : "\(prunes.count) objects that are"
        let message =
            "\(what) no longer declared would be deleted, more than --max-deletes \(limit) allows: \(shown). The plan is refused whole, nothing is done. "
            + "If that is what you want, give --max-deletes \(prunes.count), or take some at a time with --target; if not, look where the specs went"
        refusal = message
        problems.append(Problem(target: first.target, status: .invalid, message: message))
    }
}
