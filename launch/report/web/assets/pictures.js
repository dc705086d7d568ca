// What evaluations drew: attention, detections, segments.

function showPictures(why) {
  if (why === "theme") return;
  byId("pictures-said").textContent = data.pictures_left || "No evaluation of these runs has left a picture.";
  const place = new Map(data.runs.map((run, index) => [run.name, index + 1]));
  byId("gallery").replaceChildren(...data.pictures.map((picture) => {
    const run = byName.get(picture.run);
    const told = `${picture.name} of #${place.get(picture.run)} ${run.label}`;
    return element("figure", {}, element("img", { src: picture.source, width: picture.width, height: picture.height, alt: told, loading: "lazy" }), element("figcaption", {}, isolated(told), element("small", {}, isolated(picture.file))));
  }));
}
parts.push(showPictures);
