import ResourceModel
import Values
import YAML

extension Loader {
    /// Turns `plumb/depends-on` into addresses, and finds circles.
    mutating func resolveDependencies() {
        var indices: [String: [Int]] = [:]
        for (index, document) in documents.enumerated() { indices[document.name, default: []].append(index) }
        var edges: [[Int]] = Array(repeating: [], count: documents.count)
        for index in documents.indices {
            for dependency in documents[index].dependsOn {
                guard let found = indices[dependency.name], !found.isEmpty else {
                    let nearest = Diagnostic.nearest(to: dependency.name, among: indices.keys)
                    let fix =
                        nearest.map { "Did you mean '\($0)'?" }
                        ?? "Write KIND/NAME of a spec, or an object's address without its cluster: v1/Service/default/web."
                    report("'plumb/depends-on' names '\(dependency.name)', which is not declared", at: dependency.position, fix: fix)
                    continue
                }
                let chosen = sameCluster(found, as: index)
                edges[index] += chosen
                for other in chosen { connect(index, to: other) }
            }
        }
        if connections > 20 * options.maxResources, let position = documents.first(where: { !$0.dependsOn.isEmpty })?.position {
            report("the specs have more than \(20 * options.maxResources) dependencies", at: position, fix: "Let fewer things wait for fewer others.")
        }
        reportCircles(edges)
    }

    /// Two clusters can hold the same object: the one beside it is meant where there is one.
    private func sameCluster(_ found: [Int], as index: Int) -> [Int] {
        guard !documents[index].isHostSpec, found.count > 1 else { return found }
        let own = found.filter { cluster(of: $0) == cluster(of: index) }
        return own.isEmpty ? found : own
    }

    private func cluster(of index: Int) -> String? { documents[index].resources.first.flatMap { resources[$0]?.resource.address.target } }

    private mutating func connect(_ index: Int, to other: Int) {
        let isPerHost = documents[index].isHostSpec && documents[other].isHostSpec
        let most = 20 * options.maxResources
        guard connections <= most else { return }
        let needed = Dictionary(grouping: documents[other].resources.compactMap { resources[$0]?.resource.address }, by: \.target)
        let all = needed.values.flatMap(\.self)
        connections += isPerHost ? all.count : all.count * documents[index].resources.count
        guard connections <= most else { return }
        for key in documents[index].resources {
            guard let address = resources[key]?.resource.address else { continue }
            let added = isPerHost ? needed[address.target] ?? [] : all
            let known = Set(resources[key]?.resource.dependsOn ?? [])
            resources[key]?.resource.dependsOn += Set(added).subtracting(known).filter { $0 != address }.sorted()
        }
    }

    /// Depth first; each circle is reported once, where it closes.
    private mutating func reportCircles(_ edges: [[Int]]) {
        enum Colour { case white, grey, black }
        var colours = Array(repeating: Colour.white, count: edges.count)
        var position = Array(repeating: 0, count: edges.count)
        for start in edges.indices where colours[start] == .white {
            var path = [start]
            colours[start] = .grey
            while let current = path.last {
                guard position[current] < edges[current].count else {
                    colours[current] = .black
                    path.removeLast()
                    continue
                }
                let next = edges[current][position[current]]
                position[current] += 1
                switch colours[next] {
                case .white:
                    colours[next] = .grey
                    path.append(next)
                case .grey:
                    let circle = path.drop { $0 != next } + [next]
                    let text = circle.map { "\(documents[$0].name) (\(documents[$0].position))" }.joined(separator: " → ")
                    let place = documents[current].dependsOn.first { $0.name == documents[next].name }?.position ?? documents[current].position
                    report("dependencies run in a circle: \(text)", at: place, fix: "Take one of these plumb/depends-on away.")
                case .black: break
                }
            }
        }
    }
}
