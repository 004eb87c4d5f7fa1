package import DriftDetection
package import ResourceModel

/// What of the desired state a pass is about: everything, or what `--target` names, with what that depends on.
package struct Selection: Sendable {
    /// Empty: everything.
    package var globs: [AddressGlob]

    package init(_ globs: [AddressGlob] = []) { self.globs = globs }

    /// The part of the desired state that has to be observed: all resources of each target that could hold something selected or
    /// something a selected resource depends on. Which addresses a chain's pattern stands for is known only once its host was read.
    package func narrowed(_ desired: DesiredState) -> DesiredState {
        guard !globs.isEmpty else { return desired }
        var targets = Set(desired.targets.map(\.name).filter { name in globs.contains { $0.couldMatch(target: name) } })
        let dependencies = Dictionary(grouping: desired.resources.filter { !$0.dependsOn.isEmpty }, by: \.address.target)
        var open = Array(targets)
        while let target = open.popLast() {
            for resource in dependencies[target] ?? [] {
                for dependency in resource.dependsOn where targets.insert(dependency.target).inserted { open.append(dependency.target) }
            }
        }
        var narrowed = desired
        narrowed.resources.removeAll { !targets.contains($0.address.target) }
        narrowed.targets.removeAll { !targets.contains($0.name) }
        return narrowed
    }

    /// Leaves what is selected and what that depends on, directly or not.
    package func narrowed(_ drift: Drift) -> Drift {
        guard !globs.isEmpty else { return drift }
        let indices = Dictionary(drift.resources.enumerated().map { ($1.address, $0) }) { first, _ in first }
        var open = drift.resources.indices.filter { index in globs.contains { $0.matches(drift.resources[index].address) } }
        var kept = Set(open)
        var targets = Set(open.map { drift.resources[$0].address.target })
        while let index = open.popLast() {
            for dependency in drift.resources[index].dependsOn {
                targets.insert(dependency.target)
                if let next = indices[dependency], kept.insert(next).inserted { open.append(next) }
            }
        }
        var narrowed = drift
        narrowed.resources = drift.resources.indices.filter(kept.contains).map { drift.resources[$0] }
        narrowed.targetProblems.removeAll { problem in
            !targets.contains(problem.target) && !globs.contains { $0.couldMatch(target: problem.target) }
        }
        return narrowed
    }

    /// The patterns that can't mean any target there is: a misspelt name should not look like "no changes".
    package func unmatched(in desired: DesiredState) -> [AddressGlob] {
        globs.filter { glob in !desired.targets.contains { glob.couldMatch(target: $0.name) } }
    }
}
