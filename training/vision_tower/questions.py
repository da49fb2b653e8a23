"""The wordings in which each fact of a picture is asked for."""

QUESTIONS = {
    "word": [
        "What word is written here? Answer with the word only.",
        "Read the word in the picture. Say only the word.",
        "Which word is it? Answer in one word.",
        "Which word do you see? Reply with one word.",
    ],
    "phrase": [
        "What is written here? Answer with the words only.",
        "Read the text in the picture. Say only the text.",
        "What does the picture say? Reply with its words only.",
    ],
    "number": [
        "What number is written here? Answer with the number only.",
        "Which number is in the picture? Reply with digits only.",
        "Read the number. Say only the number.",
        "What number do you see? Answer in digits.",
    ],
    "sum": [
        "Which sum is written here? Answer with the sum only.",
        "Read the sum in the picture. Say only the sum.",
    ],
    "object": [
        "What is in the picture? Answer in two words.",
        "Describe the object in two words.",
        "Which shape is it, and in which color? Reply with color and shape only.",
    ],
    "colour": ["What color is it? Answer in one word.", "Name the color of the shape. Say only the color."],
    "shape": ["What shape is it? Answer in one word.", "Name the shape in the picture. Say only the shape."],
    "count": ["How many shapes are there? Answer with a digit.", "Count the shapes. Say only the number."],
    "left": [
        "What is on the left? Answer in two words.",
        "Which shape is on the left side? Say only its color and name.",
    ],
    "right": [
        "What is on the right? Answer in two words.",
        "Which shape is on the right side? Say only its color and name.",
    ],
    "top": ["What is at the top? Answer in two words.", "Which shape is above the other? Say only its color and name."],
    "bottom": [
        "What is at the bottom? Answer in two words.",
        "Which shape is below the other? Say only its color and name.",
    ],
    "tallest": [
        "Which bar is the tallest? Answer with its color.",
        "What color is the highest bar? Say only the color.",
    ],
    "shortest": [
        "Which bar is the shortest? Answer with its color.",
        "What color is the lowest bar? Say only the color.",
    ],
    "bars": ["How many bars does the chart have? Answer with a digit.", "Count the bars. Say only the number."],
    "caption": ["Describe the picture.", "What does the picture show?", "Write a caption for the picture."],
}
