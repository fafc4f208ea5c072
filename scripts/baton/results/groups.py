"""Groups of models that cannot be distinguished: what the letters in the report stand for."""

import math
from itertools import islice

import networkx


def group_models(models, different, most=math.inf):
    """Return groups of models that cannot be distinguished, as lists of names, in the order of `models`.

    different: the pairs that differ, each two names. Two models are in a group together if and only if they
    do not differ, and no group lies within another; a model may be in several. These are the groups of the compact
    letter display (Piepho 2004, J. Comput. Graph. Stat. 13, 456-466), found as the maximal cliques of the graph of
    models that do not differ (networkx). None where there are more than `most`.
    """
    alike = networkx.complete_graph(models)
    alike.remove_edges_from(map(tuple, different))
    place = {name: number for number, name in enumerate(models)}
    groups = [
        sorted(clique, key=place.__getitem__)
        for clique in islice(networkx.find_cliques(alike), None if most == math.inf else most + 1)
    ]
    return None if len(groups) > most else sorted(groups, key=lambda group: [place[name] for name in group])
